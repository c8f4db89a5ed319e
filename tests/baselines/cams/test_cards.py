"""Method cards, and the page that is made of them."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from cambench.baselines.cams.cards import built_in_cards, method_card
from cambench.baselines.cams.method import CAMS, CamMethod, register_cam
from cambench.bench.cli.ls import show
from cambench.bench.cli.method_cards import methods_page

PAGE = Path(__file__).parents[3] / "docs" / "methods.md"


def shown(pattern, verbose=True):
    console = Console(width=120, record=True, file=io.StringIO())
    show(console, "cams", pattern, verbose)
    return console.export_text()


def test_every_built_in_method_has_a_whole_card():
    for card in built_in_cards():
        labels = dict(card.lines())
        for label in ("Source", "Equation", "Needs", "Returns", "Heads", "Cost of a map alone"):
            assert len(labels[label]) > 3, (card.name, label)
        assert card.equation != "not stated"
        assert "Raises" not in " ".join(card.notes)


def test_identities_are_those_the_engine_uses():
    cards = {c.name: c for c in built_in_cards()}
    assert cards["gradcam"].identities == (
        *("equals CAM on a GAP + linear head", "equals CAM on a TAP + linear head with F ≥ 0"),
    )
    assert cards["xgradcam"].identities == ("equals CAM on a GAP + linear head with F ≥ 0",)
    assert "equals CAM with the clamp on a GAP + linear head" in cards["layercam"].identities
    assert "with the clamp equals Layer-CAM with the clamp" in cards["hirescam"].identities
    assert "GAP + linear and TAP + linear only" in cards["cam"].heads
    assert "depends on no head" in cards["eigencam"].heads
    assert cards["scorecam"].cost == "1 + N forwards"


def test_a_named_method_is_shown_as_a_card_and_a_list_as_a_table():
    text = shown("grad*")
    assert "Grad-CAM (gradcam)" in text
    assert "Grad-CAM++ (gradcam++)" in text
    assert "w_i = mean over the map of G_i" in text
    assert "Known identities" not in shown("*")
    assert "Equation" not in shown("gradcam", verbose=False)


def test_hostile_titles_are_text():
    def fn(e):
        """[bold]w[/bold] = 1"""

    text = method_card(CamMethod("x", fn, "[red]x[/red]", "[link=http://x]"))
    assert dict(text.lines())["Equation"] == "[bold]w[/bold] = 1"


def test_plugins_are_no_part_of_the_page(monkeypatch):
    CAMS.names()
    monkeypatch.setattr(CAMS, "_entries", dict(CAMS._entries))
    monkeypatch.setattr(CAMS, "_origin", dict(CAMS._origin))

    @register_cam("card_plugin", title="Card plug-in")
    def plugin(e):
        """w = 1."""

    assert "Card plug-in" not in methods_page()
    assert "Card plug-in" in shown("card_plugin")


@pytest.mark.skipif(not PAGE.is_file(), reason="the documentation is not beside the package")
def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == methods_page(), (
        "docs/methods.md is out of date: python -m cambench.bench.cli.method_cards docs/methods.md"
    )
