"""The page for everybody: a phone, dark colours, contrast, names and the keyboard."""

from __future__ import annotations

import numpy as np
import pytest
from browser import PHONE, Browser
from stub_server import picture, show


def test_a_phone_has_no_sideways_scrolling(browser: Browser, address: str) -> None:
    browser.open(address, PHONE)
    show(browser, "a.png", "b.png")
    browser.choose("#beside", "two")
    browser.until(lambda: "by two" in browser.text("#status"), "both models")
    width = browser.run("return document.documentElement.scrollWidth")
    assert width <= PHONE[0]
    beyond = browser.run(
        "return [...document.querySelectorAll('main *')].filter((one) =>"
        " !one.closest('#strip') && one.getBoundingClientRect().right > innerWidth + 1)"
        ".map((one) => one.outerHTML.slice(0, 80))"
    )
    assert beyond == []
    small = browser.run(
        "return [...document.querySelectorAll('button, select')].filter((one) => one.offsetParent"
        " && one.offsetHeight < 28).map((one) => one.outerHTML.slice(0, 80))"
    )
    assert small == []  # for a finger


def test_dark_is_the_system_s_wish_or_one_s_own(browser: Browser, address: str) -> None:
    def paper() -> str:
        got: str = browser.run("return getComputedStyle(document.body).backgroundColor")
        return got

    browser.open(address, dark=True)
    assert paper() == "rgb(18, 24, 29)"
    browser.choose("#theme", "light")
    assert paper() == "rgb(246, 247, 248)"
    browser.open(address, dark=True)  # it is remembered
    assert paper() == "rgb(246, 247, 248)"
    browser.choose("#theme", "")
    assert paper() == "rgb(18, 24, 29)"


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_what_is_under_them(
    browser: Browser, address: str, dark: bool
) -> None:
    """WCAG's contrast, 4.5 to 1, of every text that is seen."""
    browser.open(address, dark=dark)
    show(browser, "a.png")
    browser.bring(("bad.png", "image/png", picture()))
    browser.until(lambda: "damaged" in browser.text("#errors"), "an error")
    found = browser.run(
        "const under = (one) => { for (; one; one = one.parentElement) {"
        "  const colour = getComputedStyle(one).backgroundColor;"
        "  if (colour !== 'rgba(0, 0, 0, 0)') return colour; } };"
        "return [...document.querySelectorAll('body *')].filter((one) => one.offsetParent &&"
        " !one.disabled && [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))"
        ".map((one) => [one.textContent, getComputedStyle(one).color, under(one)])"
    )
    assert len(found) > 20
    assert [one for one in found if contrast(one[1], one[2]) < 4.5] == []


def contrast(a: str, b: str) -> float:
    """WCAG 2's, of two colours "rgb(r, g, b)"."""
    light = []
    for colour in (a, b):
        part = np.array([int(v) for v in colour.split("(")[1].rstrip(")").split(",")[:3]]) / 255
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        light.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(light) / min(light)


def test_everything_has_a_name_and_is_reached_by_the_tab_key(
    browser: Browser, address: str
) -> None:
    browser.open(address)
    show(browser, "a.png")
    nameless = browser.run(
        "return [...document.querySelectorAll('button, select, input, canvas[tabindex]')]"
        ".filter((one) => !one.hidden && one.offsetParent && !(one.getAttribute('aria-label') ||"
        " one.textContent.trim() && one.tagName === 'BUTTON' || one.labels?.length))"
        ".map((one) => one.outerHTML)"
    )
    assert nameless == []
    wanted = browser.run(
        "return [...document.querySelectorAll('a, button, select, input, canvas[tabindex]')]"
        ".filter((one) => one.classList.contains('skip') || (one.offsetParent && !one.disabled))"
        ".map((one) => one.id || one.tagName + one.textContent)"
    )
    browser.run("document.activeElement.blur()")
    reached = []
    for _ in wanted:
        browser.driver.switch_to.active_element.send_keys("\ue004")
        reached.append(
            browser.run(
                "const a = document.activeElement; return a.id || a.tagName + a.textContent"
            )
        )
        seen = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
        assert seen != "none", f"no focus is seen on {reached[-1]}"
    assert reached == wanted  # in the order in which it stands
    levels = browser.run(
        "return [...document.querySelectorAll('h1, h2')].map((one) => one.tagName)"
    )
    assert levels[0] == "H1"
    assert levels.count("H1") == 1
    ids = browser.run("return [...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
