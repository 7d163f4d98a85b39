"""The newcomer's path in a real browser: sign in, launch each recipe from its form, watch, compare, rank, stop."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from models_core.catalog import recipes
from support.platform import ROOT, Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("journeys")]

# Nothing that reaches out of the machine, and no sandbox that needs privileges.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 30_000
RUN_MS = 240_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the system, or Playwright's own. Absent: skipped for a developer, an error in CI."""
    with sync_playwright() as playwright:
        system = shutil.which("chromium") or shutil.which("chromium-browser")
        try:
            found = playwright.chromium.launch(executable_path=system, args=ARGUMENTS)
        except Exception as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no browser: {error}")
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser, installation: Platform) -> Iterator[Page]:
    """A signed-in page whose console stays free of errors."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=installation.url)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    sign_in(page, installation)
    yield page
    context.close()
    assert [text for text in complaints if "401" not in text and "422" not in text] == []


def sign_in(page: Page, installation: Platform) -> None:
    page.goto("/")
    expect(page).to_have_url(re.compile("/signin"))
    fill_in(page, installation)
    expect(page).not_to_have_url(re.compile("/signin"))


def fill_in(page: Page, installation: Platform) -> None:
    page.get_by_label(re.compile("e-?mail", re.I)).fill(installation.email)
    page.get_by_label("Password").fill(installation.password)
    page.get_by_role("button", name="Sign in").click()


def run_in(page: Page) -> str:
    expect(page).to_have_url(re.compile(r"/runs/r_\w+"))
    found = re.search(r"r_[0-9A-Z]+", page.url)
    assert found is not None
    return found.group(0)


def test_a_study_template_from_the_gallery_to_its_report(page: Page) -> None:
    page.goto("/o/demo/submit")
    page.get_by_role("link", name="SONew against first-order methods").click()
    expect(page.get_by_label("Name of arm 5")).to_have_value("band 4")
    page.get_by_label("Steps", exact=True).fill("30")
    page.get_by_label("Evaluate every", exact=True).fill("10")
    page.get_by_label("Seeds", exact=True).fill("0, 1")
    page.get_by_label("Changes of band 4").fill("optimizer.kind = sonew\noptimizer.band = 99")
    page.get_by_role("button", name="Remove momentum").click()
    page.get_by_role("button", name="Remove diagonal").click()
    page.get_by_role("button", name="Launch 6 runs").click()
    expect(page.get_by_text("optimizer.band: Must be at most 8.")).to_be_visible()

    page.get_by_label("Changes of band 4").fill("optimizer.kind = sonew\noptimizer.band = 4")
    page.get_by_role("button", name="Launch 6 runs").click()
    expect(page).to_have_url(re.compile(r"/studies/s_\w+"))
    finals = page.get_by_role("region", name="Final values")
    expect(page.get_by_text("6 succeeded")).to_be_visible(timeout=RUN_MS)
    expect(finals.get_by_role("row")).to_have_count(4)
    expect(finals.get_by_text("baseline", exact=True)).to_be_visible()
    # Another series as the x axis, kept in the link.
    page.get_by_label("x axis").select_option("train/loss")
    expect(page).to_have_url(re.compile("x=train"))


def launch(page: Page, recipe: str) -> str:
    page.goto("/o/demo/submit")
    page.get_by_role("link", name=re.compile(re.escape(recipes()[recipe].title), re.I)).first.click()
    expect(page).to_have_url(re.compile(f"/submit/{recipe}"))
    page.get_by_role("button", name=re.compile("^Launch", re.I)).first.click()
    return run_in(page)


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_every_form_launches_as_it_is_drawn(page: Page, installation: Platform, recipe: str) -> None:
    run = launch(page, recipe)
    assert installation.run(run)["recipe"] == recipe
    installation.api("POST", f"/runs/{run}/cancel")
    assert installation.wait(run)["state"] == "CANCELLED"


@pytest.mark.parametrize("recipe", ["distillation", "federated_training", "language_model", "optimizer_benchmark"])
def test_a_recipe_of_each_family_from_its_form_to_its_chart(page: Page, installation: Platform, recipe: str) -> None:
    run = launch(page, recipe)
    expect(page.get_by_text("Running", exact=True).first).to_be_visible(timeout=RUN_MS)
    expect(page.locator("canvas").first).to_be_visible(timeout=RUN_MS)
    expect(page.get_by_text("Succeeded", exact=True).first).to_be_visible(timeout=RUN_MS)
    assert installation.run(run)["state"] == "SUCCEEDED"


def test_a_wrong_value_is_shown_at_its_field(page: Page) -> None:
    page.goto("/o/demo/submit/optimizer_benchmark")
    steps = page.get_by_label("Steps", exact=True)
    steps.fill("-5")
    page.get_by_role("button", name=re.compile("^Launch", re.I)).first.click()
    expect(page).to_have_url(re.compile("/submit/"))
    expect(steps).to_be_focused()
    expect(steps).to_have_attribute("aria-invalid", "true")


def test_a_live_run_can_be_watched_and_stopped(page: Page, installation: Platform) -> None:
    example = min(recipes()["optimizer_benchmark"].examples, key=lambda example: example.cost_s)
    spec = {**example.spec.model_dump(mode="json"), "steps": 100_000, "checkpoint_every": 1000}
    run = installation.submit("optimizer_benchmark", spec, name="Adam on digits, long")
    page.goto(f"/o/demo/runs/{run}")
    expect(page.get_by_text("Running", exact=True).first).to_be_visible(timeout=RUN_MS)
    expect(page.locator("canvas").first).to_be_visible(timeout=RUN_MS)
    expect(page.get_by_text(re.compile(r"of 100,000")).first).to_be_visible(timeout=RUN_MS)
    page.wait_for_timeout(4000)
    picture(page, "run-live")
    page.get_by_role("button", name=re.compile("^Stop")).first.click()
    dialog = page.get_by_role("dialog")
    if dialog.is_visible():
        dialog.get_by_role("button", name=re.compile("^Stop")).click()
    expect(page.get_by_text("Cancelled", exact=True).first).to_be_visible(timeout=RUN_MS)
    assert installation.run(run)["state"] == "CANCELLED"


def test_runs_are_grouped_compared_and_ranked(page: Page, installation: Platform) -> None:
    example = min(recipes()["optimizer_benchmark"].examples, key=lambda example: example.cost_s)
    base = {**example.spec.model_dump(mode="json"), "steps": 60, "eval_every": 20}
    arms = [{"name": f"sgd {rate}", "spec": {"optimizer": {"kind": "sgd", "lr": rate}}} for rate in (0.01, 0.1)]
    payload = {"name": "Rates", "recipe": "optimizer_benchmark", "spec": base, "arms": arms, "seeds": [0, 1]}
    study = installation.api("POST", f"/orgs/demo/projects/{installation.project}/studies", payload)
    board = {"name": "Sixty steps", "recipe": "optimizer_benchmark", "metric": "eval/loss", "goal": "min"}
    board |= {"frozen": {"steps": 60}, "seeds": 2}
    made = installation.api("POST", "/benchmarks", board)
    page.goto(f"/leaderboards/{made['id']}")
    for run in study["runs"]:
        assert installation.wait(run)["state"] == "SUCCEEDED"
    expect(page.get_by_text("sgd 0.1").first).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Target").fill("0.5")
    page.get_by_role("checkbox", name="optim/state_bytes").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("columnheader", name="optim/state_bytes")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Steps to target")).to_be_visible()
    page.goto(f"/o/demo/compare?runs={','.join(study['runs'])}")
    expect(page.locator("canvas").first).to_be_visible()
    page.goto(f"/o/demo/p/{installation.project}/runs")
    page.get_by_role("button", name="Runs of sgd 0.01").click()
    # The first press on a row also moves the table's cursor there, and must open the run all the same.
    page.get_by_role("link", name="seed 1").first.click()
    assert run_in(page) in study["runs"]


def test_files_are_looked_into_and_a_project_goes_out_and_comes_back(
    page: Page, installation: Platform, tmp_path: Path
) -> None:
    home = "/orgs/demo/projects/archives"
    installation.api("POST", "/orgs/demo/projects", {"slug": "archives", "name": "Archives"})
    run = installation.api("POST", f"{home}/runs", {"external": True, "name": "with files"})["id"]
    table = "step,loss\n" + "".join(f"{step},{1 / step}\n" for step in range(1, 301))
    installation.put(f"/runs/{run}/artifacts/tables/loss.csv?epoch=1", table.encode())
    installation.put(f"/runs/{run}/artifacts/weights.bin?epoch=1", bytes(range(256)))
    page.goto(f"/o/demo/runs/{run}/artifacts")
    page.get_by_role("row", name="tables/loss.csv").get_by_role("button", name="Preview").click()
    shown = page.get_by_role("region", name="Preview of tables/loss.csv")
    expect(shown.get_by_text("the first 100 rows")).to_be_visible()
    expect(shown.get_by_role("row")).to_have_count(101)
    page.get_by_role("row", name="weights.bin").get_by_role("button", name="Preview").click()
    expect(page.get_by_role("region", name="Preview of weights.bin").get_by_text("not text")).to_be_visible()

    page.goto("/o/demo/p/archives/runs")
    page.get_by_role("button", name="Archive of the project").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export this project").click()
    archive = tmp_path / "project.zip"
    download.value.save_as(archive)
    page.get_by_label("Archive to import").set_input_files(archive)
    expect(page.get_by_text("Imported 1 run, 0 points, 2 files.")).to_be_visible()
    assert installation.api("GET", home)["runs"] == 2


def test_files_become_runs_that_are_read_compared_and_thrown_away(
    page: Page, installation: Platform, tmp_path: Path
) -> None:
    installation.api("POST", "/orgs/demo/projects", {"slug": "imports", "name": "Imports"})
    (tmp_path / "rates.csv").write_text(
        "run,step,loss\n" + "".join(f"{name},{step},{1 / (step + 1)}\n" for name in "ab" for step in range(20))
    )
    (tmp_path / "broken.csv").write_text("step,loss\n1,2\n1.5,2\n")
    keys = [f"layer{at:03}/norm" for at in range(260)]
    rows = ["step," + ",".join(keys), *(f"{step}," + ",".join(str(step + 1) for _ in keys) for step in range(3))]
    (tmp_path / "wide.csv").write_text("\n".join(rows))
    page.goto("/o/demo/p/imports/import")
    chosen = page.get_by_label("Files to import")
    chosen.set_input_files([tmp_path / name for name in ("rates.csv", "broken.csv", "wide.csv")])
    expect(page.get_by_role("row", name="broken.csv")).to_contain_text("Line 3, column step")
    page.get_by_role("button", name="Import 3 runs").click()
    expect(page.get_by_role("row", name="rates.csv")).to_contain_text("40 points are new.")
    expect(page.get_by_role("row", name="wide.csv")).to_contain_text("780 points are new.")
    chosen.set_input_files(tmp_path / "rates.csv")
    page.get_by_role("button", name="Import 2 runs").click()
    expect(page.get_by_text("Nothing new.")).to_be_visible()

    # More metrics than one request takes: charts come as they are looked at.
    page.get_by_role("row", name="wide.csv").get_by_role("link").click()
    expect(page.get_by_text("260 of 260")).to_be_visible()
    expect(page.get_by_role("region", name="layer000/norm")).to_contain_text("3")
    page.get_by_label("Find charts").fill("layer259")
    chart = page.get_by_role("region", name="layer259/norm")
    expect(chart).to_contain_text("rose from 1 to 3")
    chart.hover()
    chart.get_by_role("button", name="Options of layer259/norm").click()
    with page.expect_download() as download:
        chart.get_by_role("button", name="Export SVG").click()
    picture = tmp_path / "chart.svg"
    download.value.save_as(picture)
    assert "<title>layer259/norm" in picture.read_text()
    page.get_by_role("group", name="Chart of layer259/norm").press("End")
    page.keyboard.press("p")
    expect(page).to_have_url(re.compile("pin=2"))

    page.get_by_role("link", name="Artifacts").click()
    page.get_by_label("Files to add").set_input_files(tmp_path / "rates.csv")
    expect(page.get_by_role("cell", name="rates.csv", exact=True)).to_be_visible()
    expect(page.get_by_text("Succeeded", exact=True).first).to_be_visible()

    # The table shows what scripts logged, and many runs can go at once and come back.
    page.goto("/o/demo/p/imports/runs")
    page.get_by_role("button", name="Choose columns").click()
    page.get_by_label("Find a metric or a setting").fill("loss")
    page.get_by_role("checkbox", name="loss").check()
    expect(page.get_by_role("columnheader", name="loss", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Select all rows that are loaded").check()
    page.get_by_role("button", name="Move 3 to trash").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("3 runs back from the trash.")).to_be_visible()
    expect(page.get_by_role("link", name="wide")).to_be_visible()


def test_every_page_can_be_heard_and_reached_by_keyboard(page: Page, installation: Platform) -> None:
    project = f"/orgs/demo/projects/{installation.project}"
    example = min(recipes()["optimizer_benchmark"].examples, key=lambda example: example.cost_s)
    spec = {**example.spec.model_dump(mode="json"), "steps": 60, "eval_every": 20}
    study = installation.api(
        "POST", f"{project}/studies", {"name": "Heard", "recipe": "optimizer_benchmark", "spec": spec, "seeds": [0, 1]}
    )
    board = {"name": "Heard", "recipe": "optimizer_benchmark", "metric": "eval/loss", "goal": "min", "target": 0.1}
    made = installation.api("POST", "/benchmarks", {**board, "frozen": {"steps": 60}})
    for run in study["runs"]:
        assert installation.wait(run)["state"] == "SUCCEEDED"
    runs = study["runs"]
    here = ("submit", "projects", "submit/salt", "active", "usage", "members", "tokens", "nodes", "alerts", "storage")
    addresses = [
        "/",
        *(f"/o/demo/{name}" for name in here),
        f"/o/demo/p/{installation.project}/runs",
        f"/o/demo/p/{installation.project}/studies",
        f"/o/demo/p/{installation.project}/import",
        f"/o/demo/studies/{study['id']}",
        f"/o/demo/runs/{runs[0]}",
        f"/o/demo/compare?runs={','.join(runs)}&view=all",
        "/leaderboards",
        "/leaderboards/new",
        "/leaderboards/scores",
        f"/leaderboards/{made['id']}",
    ]
    axe = (ROOT / "frontend/node_modules/axe-core/axe.min.js").read_text()
    found = []
    for address in addresses:
        page.goto(address)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page.locator(".skeleton, .dimmed")).to_have_count(0)
        page.evaluate(axe)
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            found += [f"{address} at {width}: {said}" for said in page.evaluate(COMPLAINTS)]
    assert found == []


# What axe-core finds against WCAG 2.1 AA and good practice, in one line each.
COMPLAINTS = """
    axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }).then((found) =>
        found.violations.map((rule) => `${rule.id}: ${rule.nodes[0].html}`))
"""


def test_signing_in_for_the_console_leads_there(page: Page, installation: Platform) -> None:
    page.context.clear_cookies()
    page.goto("/admin/")
    fill_in(page, installation)
    expect(page).to_have_url(re.compile("/admin/$"))
    expect(page.get_by_text("Capacity").first).to_be_visible()


def picture(page: Page, name: str) -> None:
    """Renew a picture of the documentation, when asked to."""
    if os.environ.get("STILLROOM_PICTURES"):
        target = ROOT / "docs" / "images"
        target.mkdir(exist_ok=True)
        page.screenshot(path=Path(target) / f"{name}.png")
