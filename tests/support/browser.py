"""What a person sees and does in Chromium.  browser.py URL PASSWORD SCREENSHOT

Logs in, runs start.ipynb to its end and saves it: prints "saved". Comes back when a line
is on stdin: prints "still logged in", with the picture of it in SCREENSHOT.
"""

import sys

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

url, password, screenshot = sys.argv[1:]

options = webdriver.ChromeOptions()
for flag in ["headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu"]:
    options.add_argument("--" + flag)
# High enough for every cell: the notebook draws only those that can be seen.
options.add_argument("--window-size=1280,4000")
service = webdriver.ChromeService("/usr/bin/chromedriver")
browser = webdriver.Chrome(options, service)


def all_of(css):
    return browser.find_elements(By.CSS_SELECTOR, css)


def until(what, so, limit=120):
    WebDriverWait(browser, limit, poll_frequency=0.1).until(lambda _: so(), f"never: {what}")


def texts(css):
    """Read in one go: what is drawn anew meanwhile is no error."""
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
    return browser.execute_script(script, css)


def press(css, text):
    """Clicks on what has this text."""

    def pressed():
        found = [element for element in all_of(css) if element.text.strip() == text]
        return found and (found[0].click() or True)

    until(f"{text} can be pressed", pressed)


def log_in(words):
    field = browser.find_element(By.NAME, "password")
    field.clear()
    field.send_keys(words, Keys.ENTER)


def open_page():
    browser.get(url + "/lab/tree/start.ipynb")


def prompts():
    return [text.strip() for text in texts(".jp-Notebook .jp-CodeCell .jp-InputPrompt")]


def kernel_waits():
    return any("| Idle" in text for text in texts(".jp-StatusBar-TextItem"))


def told():
    return "".join(texts(".jp-CodeCell .jp-OutputArea-output"))


try:
    open_page()
    until("the login page", lambda: all_of("[name=password]"))
    log_in("not " + password)
    until("the refusal", lambda: "Invalid credentials" in browser.page_source)
    log_in(password)
    until("the notebook", prompts)
    until("its kernel", kernel_waits)
    assert "jupyterlab" not in told(), "it has output before it was run"
    press(".lm-MenuBar-itemLabel", "Run")
    press(".lm-Menu-itemLabel", "Run All Cells")
    until("every cell was run", lambda: all(text.strip("[]:").isdigit() for text in prompts()))
    until("the output", lambda: "jupyterlab" in told())
    assert not all_of("[data-mime-type='application/vnd.jupyter.error']"), told()
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.CONTROL, "s")
    until("it is saved", lambda: not all_of(".jp-mod-dirty"))
    print("saved", flush=True)

    sys.stdin.readline()
    browser.set_window_size(1280, 800)
    open_page()
    until("the notebook", lambda: prompts() and "jupyterlab" in told())
    until("its kernel", kernel_waits)
    until("the files", lambda: "data.ipynb" in texts(".jp-DirListing-itemName"))
    assert "/login" not in browser.current_url
    # JupyterLab's question whether it may fetch news hides a part of the page.
    browser.execute_script("document.querySelectorAll('.Toastify').forEach(e => e.remove())")
    browser.save_screenshot(screenshot)
    print("still logged in", flush=True)
except Exception:
    browser.save_screenshot(screenshot)
    raise
finally:
    browser.quit()
