"""From free text of a header to tokens that can be compared: case, umlauts, punctuation, digits, broken encodings."""

from __future__ import annotations

import contextlib
import re
import unicodedata

_BROKEN = "?"
"""Stands in a token for a letter that a wrong character set destroyed."""
_UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue"}
_CAMEL = re.compile(r"(?<=[a-zäöüß])(?=[A-ZÄÖÜ])|(?<=[A-ZÄÖÜ])(?=[A-ZÄÖÜ][a-zäöü]{2})")
_TOKEN = re.compile(rf"[a-z{re.escape(_BROKEN)}]+")
_MOJIBAKE = re.compile("[ÃÂ][\u0080-\u00bf]")


def tokens(text: str) -> list[str]:
    """Lower-case words of `text` without accents, digits and punctuation.

    `HüfteLi_2Ebenen` gives `hufte`, `li`, `ebenen`. UTF-8 read as Latin-1 is repaired; a letter that was replaced
    by `?` or U+FFFD stays as `?`.
    """
    if _MOJIBAKE.search(text):
        with contextlib.suppress(UnicodeError):
            text = text.encode("latin-1").decode("utf-8")
    text = _CAMEL.sub(" ", unicodedata.normalize("NFC", text)).casefold().replace("\ufffd", _BROKEN)
    return _TOKEN.findall(_without_accents(text))


def spellings(term: str) -> set[str]:
    """Every joined spelling under which `term` may stand in a header.

    Umlauts as themselves, as `ae`/`oe`/`ue`, without dots, or destroyed; singular, plural and genitive.
    """
    plain = unicodedata.normalize("NFC", term).lower()
    long, broken = plain, plain
    for umlaut, pair in _UMLAUTS.items():
        long, broken = long.replace(umlaut, pair), broken.replace(umlaut, _BROKEN)
    variants = {plain, long, broken}
    variants |= {variant.replace("ß", _BROKEN) for variant in variants}
    return {"".join(tokens(variant)) for variant in variants} - {""}


def inflections(spelling: str) -> set[str]:
    """English and German plurals and genitives of a spelling of at least four letters."""
    return {spelling + ending for ending in ("s", "e", "n", "en", "es")} if len(spelling) >= 4 else set()


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
