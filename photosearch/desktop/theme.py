"""Colours and the style sheet, light and dark: the page's own (static/app.css)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Theme:
    """Colours as "#rrggbb"; one neutral ground, one accent."""

    dark: bool
    surface: str
    ink: str
    soft: str
    line: str
    cell: str
    accent: str
    on_accent: str
    trouble: str


LIGHT: Final = Theme(
    dark=False,
    surface="#fdfdfc",
    ink="#1b1c1f",
    soft="#5d6068",
    line="#e3e2dd",
    cell="#e6e5e1",
    accent="#3d4bd0",
    on_accent="#ffffff",
    trouble="#9a4b00",
)
DARK: Final = Theme(
    dark=True,
    surface="#1b1d21",
    ink="#f1f1f3",
    soft="#a5a8b1",
    line="#31343b",
    cell="#2a2d33",
    accent="#a3b0ff",
    on_accent="#14162e",
    trouble="#ffb86b",
)

# Qt's style sheets know no #rgba: what is half seen through is drawn, not styled. Corners rounder
# than half the height are drawn square.
SHEET: Final = """
* {{ color: {ink}; background: transparent; }}
QLineEdit {{ border: 0; font-size: 23px; padding: 0; selection-background-color: {accent};
    selection-color: {on_accent}; }}
QListView {{ border: 0; outline: 0; }}
QLabel#soft, QLabel#facts {{ color: {soft}; font-size: 12px; }}
QLabel#name {{ font-size: 12px; font-weight: 600; }}
QLabel#trouble {{ color: {trouble}; font-size: 12px; }}
QLabel#title {{ font-size: 19px; font-weight: 600; }}
QLabel#advice {{ color: {soft}; font-size: 14px; }}
QPushButton {{ border: 1px solid {line}; border-radius: 9px; padding: 7px 14px; font-size: 13px;
    background: {surface}; }}
QPushButton:hover, QPushButton:focus {{ border-color: {accent}; }}
QPushButton#primary {{ background: {accent}; color: {on_accent}; border-color: {accent}; }}
QPushButton#primary:focus {{ border: 2px solid {ink}; }}
QPushButton#chip {{ border-radius: 12px; padding: 4px 11px; min-height: 15px; font-size: 12px;
    color: {ink}; background: {cell}; border-color: {cell}; }}
QPushButton#pill {{ border-radius: 12px; padding: 4px 10px; min-height: 15px; font-size: 12px; }}
QPushButton#part, QPushButton#doubtful {{ border-radius: 12px; padding: 4px 10px; min-height: 15px;
    font-size: 12px; background: {cell}; border-color: {cell}; }}
QPushButton#doubtful {{ color: {trouble}; }}
QPushButton#part:hover, QPushButton#part:focus, QPushButton#doubtful:hover,
    QPushButton#doubtful:focus {{ border-color: {accent}; }}
QPushButton#cross {{ border: 0; border-radius: 9px; padding: 1px 5px; min-height: 17px;
    font-size: 13px; color: {soft}; }}
QPushButton#cross:hover, QPushButton#cross:focus {{ background: {cell}; color: {ink}; }}
QPushButton#link {{ border: 0; padding: 2px 4px; font-size: 12px; color: {accent}; }}
QPushButton#link:focus {{ text-decoration: underline; }}
QCheckBox {{ font-size: 14px; }}
QPushButton#round {{ border: 0; border-radius: 9px; padding: 4px 7px; font-size: 12px;
    color: {soft}; }}
QPushButton#round:hover, QPushButton#round:focus {{ background: {cell}; color: {ink}; }}
QScrollBar:vertical {{ width: 9px; margin: 2px 1px; }}
QScrollBar::handle:vertical {{ background: {line}; border-radius: 3px; min-height: 40px; }}
QScrollBar::handle:vertical:hover {{ background: {soft}; }}
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page
    {{ height: 0; background: transparent; }}
QMenu {{ background: {surface}; border: 1px solid {line}; padding: 5px; }}
QMenu::item {{ padding: 6px 22px; border-radius: 6px; }}
QMenu::item:selected {{ background: {accent}; color: {on_accent}; }}
QToolTip {{ background: {surface}; color: {ink}; border: 1px solid {line}; padding: 4px; }}
"""


def sheet(theme: Theme) -> str:
    return SHEET.format(**{name: getattr(theme, name) for name in Theme.__dataclass_fields__})
