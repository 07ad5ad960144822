"""How a number is written for people, everywhere the same: ``4e-7``, never ``4e-07``."""

from __future__ import annotations

import math


def number(value: float, digits: int = 3) -> str:
    """A measured number to so many digits: ``0.0123``, ``4e-7``, ``1,250``, ``inf``, ``NaN``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0.0:
        return "0"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    exponent = int(power)
    if -4 <= exponent < 6:
        return _bare(f"{float(f'{value:.{digits - 1}e}'):,.{max(digits - 1 - exponent, 0)}f}")
    return f"{_bare(mantissa)}e{exponent}"


def exact(value: float) -> str:
    """A number that somebody chose, as one would type it, no digit left out: ``0.0004``, ``1e-8``, ``1250``."""
    short = f"{value:g}"
    mantissa, _, power = (short if float(short) == value else repr(value)).partition("e")
    return f"{mantissa}e{int(power)}" if power else mantissa


def _bare(decimal: str) -> str:
    """Without zeros that say nothing behind the point."""
    return decimal.rstrip("0").rstrip(".") if "." in decimal else decimal
