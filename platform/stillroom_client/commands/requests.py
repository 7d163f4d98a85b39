"""What a command line says about a run or study, read and checked before anything is sent."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from stillroom_client.client import Client
from stillroom_client.commands.terminal import UsageError
from stillroom_client.credentials import find_credentials
from stillroom_client.start import PROJECT_VARIABLE
from stillroom_client.transport import Transport

REQUEST_FIELDS = frozenset(
    {"recipe", "spec", "seed", "name", "tags", "notes", "resources", "priority", "max_attempts", "parent"}
)


def client() -> Client:
    """For whoever is signed in. Raises NotSignedIn."""
    found = find_credentials()
    return Client(transport=Transport(found.url, found.token, user_agent="stillroom-cli"))


def project_of(options: argparse.Namespace, field: str = "--project") -> str:
    """ORG/PROJECT from the option or STILLROOM_PROJECT. Raises UsageError."""
    project = options.project or os.environ.get(PROJECT_VARIABLE) or ""
    if project.count("/") != 1 or not all(project.split("/")):
        raise UsageError(f"{field}: expected ORG/PROJECT (or {PROJECT_VARIABLE}), not {project or 'nothing'}.")
    return str(project)


def read_file(source: str) -> Any:
    """JSON, or YAML where PyYAML is installed, from a file or from standard input (-). Raises UsageError."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source}: {getattr(error, 'strerror', None) or error}.") from None
    if source.endswith((".yaml", ".yml")):
        return _yaml(source, text)
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{source}: not JSON: {error}.") from None


def run_request(platform: Client, what: str, file: Optional[str], settings: Sequence[str]) -> dict[str, Any]:
    """The request of `stillroom run`: `what` is a recipe's name or a file with a whole request. Raises UsageError.

    A setting inside an object that the spec does not have changes the recipe's default for that object.
    """
    if what == "-" or what.endswith((".json", ".yaml", ".yml")):
        if file is not None:
            raise UsageError(f"-f: {what} is a file already; give the recipe's name instead.")
        request, source = read_file(what), what
        _check(request, source)
        if not isinstance(request.get("recipe"), str):
            raise UsageError(f"{source}: recipe: the name of a recipe is required; `stillroom recipes` lists them.")
    else:
        request = _from_file(file) if file is not None else {}
        request["recipe"] = what
    spec = dict(request.get("spec", {}))
    roots = {path_of(setting)[0] for setting in settings if len(path_of(setting)) > 1} - set(spec)
    if roots:
        fields = platform.recipe(request["recipe"])["schema"].get("properties", {})
        defaults = {root: fields.get(root, {}).get("default") for root in sorted(roots)}
        spec.update({root: default for root, default in defaults.items() if isinstance(default, dict)})
    request["spec"] = with_settings(spec, settings)
    return dict(request)


def path_of(setting: str) -> list[str]:
    """The path of a PATH=VALUE. Raises UsageError."""
    path, equals, _ = setting.partition("=")
    parts = path.removeprefix("spec.").split(".")
    if not equals or not all(parts):
        raise UsageError(f"--set: expected PATH=VALUE, for example optimizer.lr=0.01, not {setting!r}.")
    return parts


def with_settings(spec: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The spec with each PATH=VALUE laid over it. VALUE is JSON where it can be, else text. Raises UsageError."""
    result: dict[str, Any] = json.loads(json.dumps(spec))
    for setting in settings:
        parts = path_of(setting)
        path, _, text = setting.partition("=")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        place = result
        for part in parts[:-1]:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise UsageError(f"--set: {path}: {part} is not an object but {inner!r}.")
            place = inner
        place[parts[-1]] = value
    return result


def seeds_of(text: str) -> list[int]:
    """Seeds from "0-4", "1,3,5" or both. Raises UsageError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--seeds: expected for example 0-4 or 1,3,5, not {text!r}.")
        numbers = range(int(first), int(last if dash else first) + 1)
        if not 0 < len(numbers) <= 1000:
            raise UsageError(f"--seeds: {part} is empty or too long.")
        seeds += [seed for seed in numbers if seed not in seeds]
    return seeds


def arms_of(source: str) -> list[dict[str, Any]]:
    """Arms from a file: [{"name", "spec"}, ...], or an object of name -> spec. Raises UsageError."""
    data = read_file(source)
    if isinstance(data, dict):
        data = [{"name": name, "spec": spec} for name, spec in data.items()]
    if not isinstance(data, list) or not data:
        raise UsageError(f'{source}: expected [{{"name": "...", "spec": {{}}}}, ...] or {{"name": {{spec}}}}.')
    for number, arm in enumerate(data):
        if not isinstance(arm, dict) or not isinstance(arm.get("name"), str) or set(arm) - {"name", "spec"}:
            raise UsageError(f'{source}: {number}: an arm is {{"name": "...", "spec": {{}}}}.')
    return data


def _from_file(file: str) -> dict[str, Any]:
    data = read_file(file)
    if isinstance(data, dict) and "spec" in data and not set(data) - REQUEST_FIELDS:
        _check(data, file)
        return data
    if not isinstance(data, dict):
        raise UsageError(f"{file}: expected an object: a spec, or a whole request with a spec in it.")
    return {"spec": data}


def _check(request: Any, source: str) -> None:
    if not isinstance(request, dict):
        raise UsageError(f'{source}: expected an object like {{"recipe": "...", "spec": {{}}, "seed": 0}}.')
    unknown = sorted(set(request) - REQUEST_FIELDS)
    if unknown:
        raise UsageError(f"{source}: unknown field {unknown[0]}; there are {', '.join(sorted(REQUEST_FIELDS))}.")
    if not isinstance(request.get("spec", {}), dict):
        raise UsageError(f"{source}: spec: expected an object.")


def _yaml(source: str, text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise UsageError(f"{source}: reading YAML needs PyYAML; write JSON, or install it.") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not YAML: {' '.join(str(error).split())}.") from None
