"""`manage.py demo`: a demo organisation with a user, a leaderboard, and one small run of each family. Safe to
repeat.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from models_core.catalog import Recipe
from stillroom.accounts.models import User
from stillroom.boards.models import Benchmark
from stillroom.boards.selectors import flat
from stillroom.boards.services import benchmark_create
from stillroom.core.tenancy import admin_tx, identity_tx, tenant_tx
from stillroom.runs.catalog import recipes
from stillroom.runs.models import Project, Run
from stillroom.runs.services.submit import Request, project_create, run_submit, study_submit
from stillroom.tenants.callers import Member, members_of
from stillroom.tenants.models import Organisation
from stillroom.tenants.services import organisation_create

SLUG, EMAIL, PROJECT = "demo", "demo@stillroom.local", "first-steps"
SHOWN_FAMILIES = ("optimizer", "distillation", "federated")


class Command(BaseCommand):
    """The demo user is an administrator of the installation: on one machine it is the person who started it."""

    help = "Make a demo organisation with a user and launch one small run of each family. Prints the sign-in."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json")
        parser.add_argument("--empty", action="store_true", help="launch nothing: only the organisation and its user")

    def handle(self, *args: Any, as_json: bool, empty: bool, **options: Any) -> None:
        password = self._account()
        with self._member() as member:
            if not empty and not Project.objects.filter(slug=PROJECT).exists():
                project = project_create(
                    member=member,
                    slug=PROJECT,
                    name="First steps",
                    description="One small run of each family, on real data, from this installation's first start.",
                )
                self._launch(member, project)
        answer = {"email": EMAIL, "password": password, "org": SLUG, "project": PROJECT}
        if as_json:
            self.stdout.write(json.dumps(answer))
        else:
            self.stdout.write(f"Sign in as {EMAIL} with {password or 'the password that was printed first'}.")

    def _account(self) -> str | None:
        """The password of a fresh account; None when the demo is there already."""
        with admin_tx():
            if Organisation.objects.filter(slug=SLUG).exists():
                if not User.objects.filter(email=EMAIL).exists():
                    raise CommandError(f"There is an organisation {SLUG} already that is not the demo.")
                return None
        _, user, password = organisation_create(slug=SLUG, name="Demo", owner_email=EMAIL, actor="command line")
        if password is None:
            password = secrets.token_urlsafe(12)
        with admin_tx():
            account = User.objects.using("admin").get(id=user.id)
            account.set_password(password)
            account.name, account.is_staff, account.is_superuser = "Demo", True, True
            account.save(using="admin")
        return password

    @contextmanager
    def _member(self) -> Iterator[Member]:
        user = User.objects.get(email=EMAIL)
        with identity_tx(user_id=user.id):
            member = next(member for member in members_of(user) if member.org == SLUG)
        with tenant_tx(member.tenant_id):
            yield member

    def _launch(self, member: Member, project: Project) -> None:
        """One run of each family, a small study to compare, and a leaderboard that its runs enter."""
        for family in SHOWN_FAMILIES:
            recipe = next(found for found in recipes().values() if found.family == family)
            example = recipe.examples[0]
            request = Request(recipe=recipe.name, spec=example.spec.model_dump(mode="json"), name=example.title)
            run_submit(member=member, project=project, request=request)
        self._compare(member, project, recipes()["optimizer_benchmark"])

    def _compare(self, member: Member, project: Project, recipe: Recipe) -> None:
        base = min(recipe.examples, key=lambda example: example.cost_s).spec.model_dump(mode="json")
        arms = [
            ("SGD", {"optimizer": {"kind": "sgd", "lr": 0.1}}),
            ("Adam", {"optimizer": {"kind": "adam", "lr": 0.003}}),
            ("Tridiagonal SONew", {"optimizer": {"kind": "sonew", "lr": 0.003, "band": 1}}),
        ]
        study_submit(
            member=member,
            project=project,
            name="Three optimizers, three seeds",
            base=Request(recipe=recipe.name, spec=base),
            arms=arms,
            seeds=[0, 1, 2],
        )
        frozen = flat({name: base[name] for name in ("workload", "steps", "batch_size")})
        if not Benchmark.objects.exists() and Run.objects.exists():
            benchmark_create(
                member=member,
                values={
                    "name": "Digits autoencoder, fixed budget",
                    "description": "Reconstruction loss of the small autoencoder on real 8x8 digit images after a "
                    "fixed number of steps. Learning rates are chosen by hand, not tuned.",
                    "recipe": recipe.name,
                    "frozen": frozen,
                    "metric": recipe.primary_metric.key,
                    "reduce": "last",
                    "goal": recipe.primary_metric.goal or "min",
                    "target": None,
                    "columns": ["optim/state_bytes", "perf/step_s"],
                    "seeds": 3,
                },
            )
