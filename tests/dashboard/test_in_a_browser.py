"""In a real browser, mounted in Flask, FastAPI and Django under a prefix, alone, and behind a proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from embedq import EmbedQ, JobState
from tests.databases import SQLiteHome
from tests.support import Child

pytest.importorskip("selenium")
from selenium.webdriver.common.keys import Keys

from tests.dashboard.browser import Browser, addresses, is_there, opened

pytestmark = pytest.mark.skipif(not is_there(), reason="chromium and chromedriver are not installed")

PAGES = [
    "/", "/jobs", "/jobs?state=dead", "/dead", "/recurring", "/recurring/calendar", "/recurring/of/nightly%20report",
    "/queues", "/limits", "/servers", "/tasks?span=day", "/tasks/of/shop.payments:charge", "/audit", "/x/own",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return SQLiteHome().fresh(tmp_path_factory.mktemp("sites"), "jobs")


@pytest.fixture(scope="module")
def sites(url: str) -> Iterator[dict[str, str]]:
    child = Child("import sys; from tests.dashboard.sites import main; main(sys.argv[1])", url)
    try:
        yield addresses(child.read_line())
    finally:
        child.finish(20)


@pytest.fixture(scope="module")
def queue(url: str, sites: dict[str, str]) -> Iterator[EmbedQ]:
    """The queue that the sites show, seen from another process."""
    app = EmbedQ(url).connect()
    yield app
    app.close()


@pytest.fixture
def at(browser: Browser, sites: dict[str, str]) -> Callable[[str], Browser]:
    """The browser, at one of the sites."""

    def go(site: str) -> Browser:
        browser.base, _, token = sites[site].partition("/?token=")
        browser.width(1280)
        browser.dark(False)
        if site != "asks":
            browser.open(f"/?token={token}")
        browser.complaints()
        return browser

    return go


def job_pages(queue: EmbedQ) -> list[str]:
    states = (JobState.DEAD, JobState.RUNNING, JobState.RETRYING, JobState.AWAITING)
    jobs = [queue.jobs(state=state, limit=1)[0].id for state in states]
    return [*(f"/jobs/{job}" for job in jobs), f"/jobs/{jobs[1]}/logs", f"/jobs/{jobs[1]}/stack"]


@pytest.mark.parametrize("site", ["flask", "fastapi", "django", "alone", "proxy"])
def test_every_page_opens_without_a_complaint(at: Callable[[str], Browser], queue: EmbedQ, site: str) -> None:
    browser = at(site)
    for path in [*PAGES, *job_pages(queue)]:
        browser.open(path)
        assert browser.text("h1"), path
        assert browser.run("return [...document.styleSheets].length") == 1, path
        assert browser.run("return typeof htmx") == "object", path
    assert browser.complaints() == []


def test_a_live_stack_is_looked_at_again_and_again(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("fastapi")
    [running] = queue.jobs(state=JobState.RUNNING, limit=1)
    browser.open(f"/jobs/{running.id}/stack")
    first = browser.one("#live time").get_attribute("datetime")
    browser.waits_until(lambda: browser.one("#live time").get_attribute("datetime") != first)
    assert "traceback" in str(browser.one("#live pre").get_attribute("class"))


def test_it_is_accessible_and_fits_in_both_themes_and_widths(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("fastapi")
    [dead] = queue.jobs(state=JobState.DEAD, limit=1)
    asked = f"/jobs/{dead.id}"
    for path in [*PAGES[3:], "/", "/jobs?state=dead", "/jobs?queue=none", "/nowhere", asked, *job_pages(queue)[1:]]:
        assert_fit(browser, path)


@pytest.mark.parametrize(
    "path",
    ["/", "/jobs", "/dead", "/recurring", "/recurring/calendar", "/queues", "/limits", "/servers", "/tasks", "/audit"],
)
def test_so_are_the_pages_that_have_nothing_to_show_yet(at: Callable[[str], Browser], path: str) -> None:
    browser = at("empty")
    assert_fit(browser, path)
    assert browser.all(".empty h2"), "it says what will be here"


def assert_fit(browser: Browser, path: str) -> None:
    """axe has nothing against a page, on a desk and on a phone, by day and by night, and nothing sticks out."""
    for pixels in (1280, 390):
        browser.width(pixels)
        browser.dark(False)
        browser.open(path)
        assert browser.violations() == [], (path, pixels)
        assert browser.run("return document.documentElement.scrollWidth") <= pixels, (path, pixels)
        cut = (
            "return [...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth).length"
        )
        assert browser.run(cut) == 0, (path, pixels)
        browser.dark()
        assert browser.violations("color-contrast") == [], (path, pixels)


@pytest.mark.parametrize("site", ["flask", "fastapi", "django", "proxy"])
def test_a_job_is_cancelled_retried_and_deleted_by_its_buttons(
    at: Callable[[str], Browser], queue: EmbedQ, site: str
) -> None:
    browser = at(site)
    job = queue.options(queue="buttons").enqueue_in(3600, print, site)
    queue.enqueue_in(3600, print, "the newest job keeps its number, and stays")
    browser.open(f"/jobs/{job.id}")
    browser.click_button("Cancel")
    browser.waits_for("Cancelled 1 job")
    assert job.state == JobState.CANCELLED
    browser.click_button("Delete …")
    browser.waits_for("Delete 1 job?")
    browser.click_button("Delete job")
    browser.waits_for("Deleted 1 job")
    assert not queue.jobs(queue="buttons")
    assert browser.complaints() == []


def test_a_job_is_run_now_and_another_moved(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("flask")
    job = queue.enqueue_in(3600, print, "")
    browser.open(f"/jobs/{job.id}")
    browser.click_button("Run now")
    browser.waits_for("Started 1 job")
    assert job.wait(timeout=10) == JobState.SUCCEEDED
    # The page shows it by itself.
    browser.waits_for("succeeded", "h1")
    other = queue.enqueue_in(3600, print, "")
    browser.open(f"/jobs/{other.id}")
    browser.click_button("Move …")
    browser.waits_for("Move 1 job?")
    browser.one("input[name=to_queue]").send_keys("moved")
    browser.one("input[name=priority]").send_keys("9")
    browser.click_button("Move job")
    browser.waits_for("Moved 1 job")
    assert (other.snapshot().queue, other.snapshot().priority) == ("moved", 9)
    other.cancel()


def test_a_list_is_alive_and_keeps_what_was_ticked(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("fastapi")
    task = queue.options(queue="alive")
    first = task.enqueue_in(3600, print, 1)
    browser.open("/jobs?queue=alive")
    browser.click(f"input[name=ids][value='{first.id}']")
    second = task.enqueue_in(3600, print, 2)
    browser.waits_until(lambda: browser.all(f"#job-{second.id}"), "a new job is shown without a reload")
    assert browser.one(f"input[name=ids][value='{first.id}']").is_selected()
    assert browser.text("#chosen") == "1 selected"
    first.cancel()
    browser.waits_until(lambda: "cancelled" in browser.text(f"#job-{first.id}"))
    browser.click("#tick-all")
    assert browser.text("#chosen") == "2 selected"
    browser.click("button[value=cancel]")
    browser.waits_for("Cancel 2 jobs?")
    browser.click_button("Cancel jobs")
    browser.waits_for("Cancelled 1 job")
    assert second.state == JobState.CANCELLED


def test_it_requests_nothing_while_the_tab_is_hidden_or_it_is_paused(
    at: Callable[[str], Browser], queue: EmbedQ
) -> None:
    browser = at("fastapi")
    count = (
        "return performance.getEntriesByType('resource').filter((one) => one.initiatorType === 'xmlhttprequest').length"
    )
    browser.open("/recurring")
    browser.waits_until(lambda: browser.run(count) >= 1)
    browser.run("Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true})")
    hidden = browser.run(count)
    # A timer of the page itself, so that its own has had its turns meanwhile.
    browser.driver.execute_async_script("setTimeout(arguments[0], 1600)")
    assert browser.run(count) - hidden <= 1, "one may have been on its way"
    browser.run("delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange'))")
    browser.waits_until(lambda: browser.run(count) > hidden + 1)
    browser.press("p")
    assert browser.one("#live-switch").get_attribute("aria-pressed") == "false"
    browser.press("p")


def test_all_that_match_are_retried_after_a_question_with_progress(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("proxy")
    task = queue.options(queue="bulk")
    with queue.hold():
        for _ in range(600):
            task.enqueue_in(3600, print, "")
    found = queue.cancel_all(queue="bulk")
    browser.open("/jobs?queue=bulk&state=cancelled")
    browser.click("select[name=scope] option[value=all]")
    browser.click("button[value=retry]")
    browser.waits_for(f"Retry {found:,} jobs?")
    browser.click_button("Retry jobs")
    browser.waits_for(f"{found:,} of {found:,}")
    browser.waits_for("done", "h1")
    browser.open("/audit")
    assert "retry" in browser.text("tbody tr")
    assert queue.count_jobs(queue="bulk", state=JobState.CANCELLED) == 0


def test_recurring_jobs_by_their_buttons(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("django")
    browser.open("/recurring/of/sync%20mail")
    browser.click_button("Pause")
    browser.waits_for("Paused sync mail")
    browser.click_button("Resume")
    browser.waits_for("Resumed sync mail")
    browser.click_button("Run now")
    browser.waits_for("Started sync mail")
    browser.click_button("Remove …")
    browser.waits_for("Remove the recurring job")
    browser.click_button("Remove")
    browser.waits_for("Removed sync mail")
    assert "sync mail" not in [schedule.name for schedule in queue.schedules()]


def test_a_limit_is_changed_by_its_button_and_why_a_job_waits_is_shown(
    at: Callable[[str], Browser], queue: EmbedQ
) -> None:
    browser = at("django")
    browser.open("/limits")
    # The exports, the first by name.
    browser.click_button("Change …")
    browser.waits_for("Change the limit shop.exports:write?")
    assert browser.violations() == []
    browser.one("[name=total]").send_keys("7", Keys.ENTER)
    browser.waits_for("Changed: shop.exports:write")
    use = next(use for use in queue.limits() if use.name == "shop.exports:write")
    # What was set before stays.
    assert (use.total, use.each) == (7, 0)
    [waiting, *_] = queue.jobs(name="shop.exports:write")
    browser.open(f"/jobs/{waiting.id}")
    browser.waits_for("0 run, 0 may")


def test_the_keyboard_is_enough(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("fastapi")
    browser.open("/")
    browser.press("/")
    assert browser.run("return document.activeElement.id") == "search"
    browser.run("document.activeElement.blur()")
    browser.press("?")
    assert browser.run("return document.getElementById('help').open")
    browser.run("document.getElementById('help').close()")
    browser.press("gj")
    browser.waits_until(lambda: browser.driver.current_url.endswith("/jobs"))
    browser.press("jj")
    wanted = browser.all("[data-row]")[1].get_attribute("id")
    assert browser.one("tr.marked").get_attribute("id") == wanted
    browser.press("x")
    assert browser.text("#chosen") == "1 selected"
    browser.press("t")
    assert browser.run("return document.documentElement.dataset.theme") == "dark"
    browser.press("tt")
    browser.press(Keys.ENTER)
    browser.waits_until(lambda: browser.driver.current_url.endswith(f"/{str(wanted).removeprefix('job-')}"))


def test_the_mark_stays_with_its_job_when_others_come_above_it(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("fastapi")
    task = queue.options(queue="marks")
    first, second = task.enqueue_in(3600, print, 1), task.enqueue_in(3600, print, 2)
    browser.open("/jobs?queue=marks")
    browser.press("jj")
    assert browser.one("tr.marked").get_attribute("id") == f"job-{first.id}"
    newest = task.enqueue_in(3600, print, 3)
    browser.waits_until(lambda: browser.all(f"#job-{newest.id}"))
    browser.waits_until(lambda: browser.one("tr.marked").get_attribute("id") == f"job-{first.id}")
    browser.press("x")
    assert browser.one(f"input[name=ids][value='{first.id}']").is_selected()
    assert not browser.one(f"input[name=ids][value='{second.id}']").is_selected()
    browser.press("k")
    assert browser.one("tr.marked").get_attribute("id") == f"job-{second.id}"


def test_the_label_states_whether_the_page_is_alive(at: Callable[[str], Browser]) -> None:
    browser = at("fastapi")
    browser.open("/jobs")
    assert browser.text("#live-switch") == "Live"
    browser.press("p")
    assert browser.text("#live-switch") == "Paused"
    browser.press("p")
    # A server that hangs is given up after the time that htmx is told.
    assert browser.run("return htmx.config.timeout") == 10_000
    browser.run("htmx.config.timeout = 1; document.getElementById('live').setAttribute('hx-get', '/nowhere/at/all')")
    browser.run("htmx.process(document.getElementById('live'))")
    browser.waits_until(lambda: browser.text("#live-switch") == "Disconnected")
    browser.complaints()


def test_a_page_is_left_alone_for_as_long_as_the_server_states(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("fastapi")
    count = (
        "return performance.getEntriesByType('resource').filter((one) => one.initiatorType === 'xmlhttprequest').length"
    )
    browser.open("/recurring")
    browser.waits_until(lambda: browser.run(count) >= 1)
    browser.run(
        "const plain = XMLHttpRequest.prototype.getResponseHeader;"
        "XMLHttpRequest.prototype.getResponseHeader = function (name) {"
        "  return name === 'X-Embedq-Rest' ? '60' : plain.call(this, name); };"
    )
    seen = browser.run(count)
    browser.waits_until(lambda: browser.run(count) > seen)
    seen = browser.run(count)
    browser.driver.execute_async_script("setTimeout(arguments[0], 2500)")
    assert browser.run(count) == seen


def test_many_are_moved_and_deleted_together(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("flask")
    task = queue.options(queue="movers")
    jobs = [task.enqueue_in(3600, print, n) for n in range(3)]
    queue.enqueue_in(3600, print, "the newest job keeps its number, and stays")
    browser.open("/jobs?queue=movers")
    browser.click("#tick-all")
    browser.click("#bulk button[value=move]")
    browser.waits_for("Move 3 jobs?")
    browser.press("elsewhere")
    browser.click_button("Move jobs")
    browser.waits_for("Moved 3 jobs")
    assert {job.snapshot().queue for job in jobs} == {"elsewhere"}
    browser.open("/jobs?queue=elsewhere")
    browser.click(f"input[name=ids][value='{jobs[0].id}']")
    browser.click("#bulk button[value=delete]")
    browser.waits_for("Delete 1 job?")
    browser.click_button("Delete job")
    browser.waits_for("Deleted 1 job")
    assert queue.count_jobs(queue="elsewhere") == 2
    queue.cancel_all(queue="elsewhere")


def test_a_group_of_dead_letters_is_retried_by_its_button(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("fastapi")
    browser.open("/dead")
    before = queue.count_jobs(state=JobState.DEAD)
    browser.click_button("Delete all …")
    browser.waits_for("Delete ")
    assert browser.run("return document.activeElement.textContent") in ("Keep job", "Keep jobs")
    browser.click("a.button")
    browser.waits_for("Dead letters")
    assert queue.count_jobs(state=JobState.DEAD) == before
    browser.click_button("Retry all …")
    browser.waits_for("Retry ")
    browser.click("button.main")
    browser.waits_for("done", "h1")


def test_a_list_of_recurring_jobs_has_its_buttons(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("flask")
    browser.open("/recurring")
    browser.click_button("Run now")
    browser.waits_for("Started ", ".flash")
    browser.click_button("Pause")
    browser.waits_for("Paused ", ".flash")
    assert [schedule for schedule in queue.schedules() if schedule.paused]
    browser.click_button("Resume")
    browser.waits_for("Resumed ", ".flash")


def test_the_search_box_finds(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("django")
    browser.open("/")
    browser.one("#search").send_keys("queue:images photo-3\n")
    browser.waits_until(lambda: len(browser.all("[data-row]")) == 1)
    assert "photo-3" in browser.text("[data-row]")
    assert browser.one("input[name=argument]").get_attribute("value") == "photo-3"


def test_on_a_phone_the_current_page_and_state_are_in_sight(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("fastapi")
    browser.width(390)
    browser.open("/audit")
    place = "const one = document.querySelector(arguments[0]).getBoundingClientRect(); return [one.left, one.right]"
    left, right = browser.run(place, ".side [aria-current]")
    assert left >= 0
    assert right <= 390
    browser.open("/jobs?state=cancelled")
    left, right = browser.run(place, ".tabs [aria-current]")
    assert left >= 0
    assert right <= 390


def test_what_is_filtered_by_is_shown_and_taken_off(at: Callable[[str], Browser], queue: EmbedQ) -> None:
    browser = at("fastapi")
    browser.open("/jobs?queue=images&tag=none&state=retrying")
    assert [one.text.rstrip(" ×") for one in browser.all(".given li")] == ["queue images", "tag none", "clear all"]
    browser.click("a[aria-label='Remove the filter tag']")
    browser.waits_until(lambda: browser.driver.current_url.endswith("/jobs?queue=images&state=retrying"))


def test_the_token_is_required_and_leads_on_to_the_page(at: Callable[[str], Browser], sites: dict[str, str]) -> None:
    browser = at("asks")
    browser.open("/")
    # A session at another port of this host may have begun for all paths.
    browser.driver.delete_all_cookies()
    for dark, width in ((False, 1280), (True, 1280), (True, 390), (False, 320)):
        browser.dark(dark)
        browser.width(width)
        browser.open("/jobs?state=dead")
        assert "Token required" in browser.text()
        assert browser.violations() == []
        assert browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    browser.press("wrong" + Keys.ENTER)
    browser.waits_for("This token is wrong or has expired")
    assert browser.violations() == []
    browser.press(sites["asks"].partition("token=")[2] + Keys.ENTER)
    browser.waits_until(lambda: browser.driver.current_url == f"{browser.base}/jobs?state=dead")
    assert browser.text(".tabs [aria-current]").startswith("dead")
    # The refusals are the network's to report, and nothing else is.
    assert [line for line in browser.complaints() if "401" not in line] == []
    browser.width(1280)
    browser.click(".leave button")
    browser.waits_for("Token required")
    browser.open("/audit")
    assert "Token required" in browser.text()
