"""Logs in at a hub, clicks on "Start My Server", and says in JSON after how many milliseconds
the notebook's page was there, and after how many its kernel had answered:

    first_kernel_client.py URL USER [--browser]

Part of scripts/first-kernel, which executes it with the Python of the hub's venv. It asks what
a browser asks, in the same order, without the time for drawing; or drives Chromium.
"""

import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests/support"))

NOTEBOOK = "start.ipynb"


def as_a_client(url, user):
    import hub_person

    person = hub_person.Person(url, user, page="/hub/home")
    base = f"/user/{user}/"
    begin = time.monotonic()
    page = person.ask("GET", f"/hub/spawn/{user}")
    while "spawn-pending" in page.url:
        # The page follows the hub's events, and loads itself again after the last.
        path = f"/hub/api/users/{user}/server/progress"
        header = {"X-XSRFToken": person.xsrf("/hub/"), "Accept": "text/event-stream"}
        with person.ask("GET", path, headers=header, stream=True) as events:
            for line in events.iter_lines():
                event = json.loads(line.removeprefix(b"data: ") or "{}")
                assert not event.get("failed"), event
                if event.get("ready"):
                    break
        page = person.ask("GET", page.url.removeprefix(url))
    assert page.ok and f"{base}lab" in page.url, page.url
    yield begin
    header = {"X-XSRFToken": person.xsrf(base)}
    for path in "lab/api/settings", "api/kernelspecs", f"api/contents/{NOTEBOOK}":
        assert person.ask("GET", base + path).ok, path
    wanted = {"name": NOTEBOOK, "path": NOTEBOOK, "type": "notebook", "kernel": {"name": "python3"}}
    session = person.ask("POST", base + "api/sessions", json=wanted, headers=header).json()
    assert person.execute(base, session["kernel"]["id"], "print(1 + 1)") == "2"


def as_a_browser(url, user):
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu"):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))

    def until(what, script):
        wait = WebDriverWait(browser, 120, poll_frequency=0.05)
        wait.until(lambda _: browser.execute_script(f"return {script}"), f"never: {what}")

    try:
        browser.get(f"{url}/hub/login?next=/hub/home")
        browser.find_element(By.NAME, "username").send_keys(user)
        browser.find_element(By.NAME, "password").send_keys(Keys.ENTER)
        until("the hub's page", "document.readyState == 'complete' && !!document.getElementById('start')")
        begin = time.monotonic()
        browser.execute_script("document.getElementById('start').click()")
        until("the notebook", "!!document.querySelector('.jp-Notebook .jp-CodeCell .jp-InputPrompt')")
        yield begin
        # JupyterLab says so once the kernel has told it about itself.
        texts = "[...document.querySelectorAll('.jp-StatusBar-TextItem')]"
        until("its kernel", texts + ".some(item => item.textContent.includes('| Idle'))")
    finally:
        browser.quit()


visit = as_a_browser if "--browser" in sys.argv else as_a_client
steps = visit(*sys.argv[1:3])
begin = next(steps)
page = time.monotonic()
assert next(steps, None) is None
print(json.dumps([(each - begin) * 1000 for each in (page, time.monotonic())]))
