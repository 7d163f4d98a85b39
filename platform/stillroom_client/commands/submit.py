"""run, study, recipes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from stillroom_client.client import Client
from stillroom_client.commands.look import follow_log
from stillroom_client.commands.requests import arms_of, client, project_of, run_request, seeds_of, with_settings
from stillroom_client.commands.terminal import UsageError, clean, show_json, show_table, status


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    run = commands.add_parser("run", parents=[common], help="submit a run")
    run.add_argument(
        "what",
        metavar="RECIPE|REQUEST.json",
        help='a recipe, or a file {"recipe", "spec", "seed", "name", ...}; - reads it from standard input',
    )
    run.add_argument("-f", "--file", metavar="SPEC.json", help="the spec, or a whole request; YAML with PyYAML")
    _common(run)
    run.add_argument("--seed", type=int, help="default 0, or the file's")
    run.add_argument("--wait", action="store_true", help="return when it has ended; exit code 1 unless it succeeded")
    run.add_argument("--follow", action="store_true", help="the same, printing its log")
    run.set_defaults(do=_run)
    study = commands.add_parser("study", parents=[common], help="submit arms times seeds of a recipe")
    study.add_argument("recipe", metavar="RECIPE")
    study.add_argument("--arms", metavar="ARMS.json", help='[{"name", "spec"}, ...] or {"name": {spec}, ...}')
    study.add_argument("--seeds", help="for example 0-4 or 1,3,5; default 0, or the template's")
    study.add_argument("--template", metavar="NAME", help="a template of the recipe; `stillroom recipes RECIPE` lists")
    study.add_argument("-f", "--file", metavar="SPEC.json", help="the spec that arms are laid over")
    _common(study)
    study.set_defaults(do=_study)
    recipes = commands.add_parser("recipes", parents=[common], help="list what can be run, or describe one recipe")
    recipes.add_argument("recipe", metavar="RECIPE", nargs="?")
    recipes.set_defaults(do=_recipes)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", metavar="ORG/PROJECT", help="default STILLROOM_PROJECT")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="settings", help="optimizer.lr=0.01; repeat it"
    )
    parser.add_argument("--name", help="what people see")
    parser.add_argument("--tag", action="append", default=[], metavar="KEY[=VALUE]", help="may be given again")
    parser.add_argument("--priority", type=int, help="higher goes first; default 0")
    parser.add_argument("--kind", help="accelerator kind; default cpu")
    parser.add_argument("--devices", type=int, help="how many of them; default 1")
    parser.add_argument("--time-limit", type=int, metavar="SECONDS", help="default 3600")


def _run(options: argparse.Namespace) -> int:
    platform = client()
    request = run_request(platform, options.what, options.file, options.settings)
    project = project_of(options)
    request.update(_chosen(options, request))
    if options.seed is not None:
        request["seed"] = options.seed
    run = platform.submit(project, request.pop("recipe"), request.pop("spec", {}), **request)
    if not (options.wait or options.follow):
        if options.json:
            show_json(run)
        else:
            print(run["id"])
        return 0
    if not options.json:
        print(run["id"])
    run = follow_log(platform, run["id"]) if options.follow and not options.json else _await(platform, run["id"])
    if options.json:
        show_json(run)
    elif options.follow:
        print(status(run), file=sys.stderr)
    return 0 if run["state"] == "SUCCEEDED" else 1


def _study(options: argparse.Namespace) -> int:
    platform = client()
    spec = run_request(platform, options.recipe, options.file, options.settings)["spec"]
    arms, seeds, name = [], [0], options.name
    if options.template:
        template = _template(platform, options.recipe, options.template)
        arms, seeds = list(template.get("arms") or []), list(template.get("seeds") or [0])
        name = name or template.get("title")
        spec = with_settings(_laid_over(template.get("spec") or {}, spec), [])
    if options.arms:
        arms = arms_of(options.arms)
    if options.seeds:
        seeds = seeds_of(options.seeds)
    project = project_of(options)
    study = platform.study(
        project, name or options.recipe, options.recipe, spec, arms=arms, seeds=seeds, **_chosen(options, {}, False)
    )
    if options.json:
        show_json(study)
    else:
        print(study["id"])
        for run in study["runs"]:
            print(f"  {run}")
    return 0


def _recipes(options: argparse.Namespace) -> int:
    platform = client()
    if options.recipe is None:
        recipes = platform.recipes()
        if options.json:
            show_json(recipes)
        else:
            show_table(("RECIPE", "FAMILY", "TITLE"), [(one["name"], one["family"], one["title"]) for one in recipes])
        return 0
    recipe = platform.recipe(options.recipe)
    if options.json:
        show_json(recipe)
        return 0
    print(f"{recipe['name']} {recipe['version']}: {recipe['title']}\n\n{recipe['description'].strip()}\n")
    fields = recipe["schema"].get("properties", {})
    show_table(
        ("FIELD", "DEFAULT", "WHAT"),
        [(name, _default(one), clean(one.get("description") or one.get("title"))[:90]) for name, one in fields.items()],
    )
    if recipe.get("templates"):
        print()
        rows = [(one["name"], len(one.get("arms") or []), one.get("title")) for one in recipe["templates"]]
        show_table(("TEMPLATE", "ARMS", "TITLE"), rows)
    return 0


def _chosen(options: argparse.Namespace, request: Mapping[str, Any], named: bool = True) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if named and options.name is not None:
        chosen["name"] = options.name
    if options.priority is not None:
        chosen["priority"] = options.priority
    if options.tag:
        tags = dict(tag.partition("=")[::2] for tag in options.tag)
        chosen["tags"] = {**(request.get("tags") or {}), **tags}
    asked = {"kind": options.kind, "devices": options.devices, "time_limit_s": options.time_limit}
    asked = {name: value for name, value in asked.items() if value is not None}
    if asked:
        chosen["resources"] = {**(request.get("resources") or {}), **asked}
    return chosen


def _await(platform: Client, run: str) -> dict[str, Any]:
    shown = ""

    def show(now: Mapping[str, Any]) -> None:
        nonlocal shown
        line = status(now)
        if line != shown:
            print(line, file=sys.stderr)
            shown = line

    return platform.wait(run, each=show)


def _template(platform: Client, recipe: str, name: str) -> Mapping[str, Any]:
    templates = platform.recipe(recipe).get("templates") or []
    for one in templates:
        if one["name"] == name:
            return dict(one)
    known = ", ".join(one["name"] for one in templates) or "none"
    raise UsageError(f"--template: {recipe} has no template {name}; there are: {known}.")


def _laid_over(base: Any, override: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(override, dict):
        return override
    return {**base, **{key: _laid_over(base.get(key), value) for key, value in override.items()}}


def _default(field: Mapping[str, Any]) -> str:
    if "default" not in field:
        return "-"
    default = field["default"]
    return str(default.get("kind", "{...}")) if isinstance(default, dict) else str(default)
