"""What a person sees of a rescue in Chromium.  rescued.py URL LOGIN CAUSE

Opens URL, logs in if there is a login page (LOGIN: the password, or the user of a hub), and
waits for the page that says CAUSE: prints "seen".
"""

import sys

from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

url, login, cause = sys.argv[1:]

options = webdriver.ChromeOptions()
for flag in ["headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu"]:
    options.add_argument("--" + flag)
browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))


def first(css):
    return next(iter(browser.find_elements(By.CSS_SELECTOR, css)), None)


def until(what, so):
    try:
        return WebDriverWait(browser, 60, poll_frequency=0.1).until(lambda _: so())
    except TimeoutException:
        console = [entry["message"] for entry in browser.get_log("browser")]
        shown = browser.execute_script("return document.body.innerText")
        page = f"{browser.current_url}: {shown!r}; console: {console}"
        sys.exit(f"never: {what}, at {page}")


def text(css):
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
    return "".join(browser.execute_script(script, css))


def broke():
    # Containers that come and go change the machine's network: Chromium gives up its requests then.
    if "Failed to fetch" in text("body"):
        browser.refresh()
    said = text(page)
    return cause in said and "rescue" in said


try:
    browser.get(url)
    page = ".jp-MarkdownViewer"
    until("a login or the page", lambda: first(page) or first("#username_input, [name=password]"))
    if field := first("#username_input, [name=password]"):
        field.send_keys(login, Keys.ENTER)
    until("what broke", broke)
    browser.get(browser.current_url.split("/lab/")[0] + "/lab/tree/home/jupyter/notebooks")
    until("hidden files", lambda: ".ai-lab" in text(".jp-DirListing-content"))
    print("seen")
finally:
    browser.quit()
