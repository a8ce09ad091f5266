"""Tables of notation: characters, LaTeX commands and names that mean the same."""

from __future__ import annotations

# In the order of Unicode, which has a final sigma before sigma.
GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"),
    *("lambda", "mu", "nu", "xi", "omicron", "pi", "rho", "sigma", "tau", "upsilon", "phi"),
    *("chi", "psi", "omega"),
)
_GREEK_CAPITALS = frozenset(
    {"gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "phi", "psi", "omega"}
)
FUNCTIONS = (
    *("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "sin", "cos", "tan", "cot", "sec"),
    *("csc", "log", "ln", "exp", "sqrt", "gcd", "lcm", "max", "min"),
)

CHARACTERS = {
    **dict.fromkeys("−–—‐‑‒﹣", "-"),
    **dict.fromkeys("×·⋅∙∗•✕", r"\cdot "),
    **dict.fromkeys("÷∕⁄", "/"),
    **dict.fromkeys("∣❘", "|"),
    **dict.fromkeys("°º", r"^{\circ}"),
    **dict.fromkeys("≤⩽≦", r"\le "),
    **dict.fromkeys("≥⩾≧", r"\ge "),
    **dict.fromkeys("‘’′", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("、，", ","),
    **dict.fromkeys("∅⌀", r"\emptyset "),
    "√": r"\sqrt ",
    "∛": r"\sqrt[3] ",
    "∜": r"\sqrt[4] ",
    "∞": r"\infty ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "≡": r"\equiv ",
    "∈": r"\in ",
    "∉": r"\notin ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∖": r"\setminus ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "π": r"\pi ",
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "ℚ": r"\mathbb{Q}",
    "ℕ": r"\mathbb{N}",
    "ℂ": r"\mathbb{C}",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "⌊": r"\lfloor ",
    "⌋": r"\rfloor ",
    "⌈": r"\lceil ",
    "⌉": r"\rceil ",
    "∠": r"\angle ",
    "△": r"\triangle ",
    "…": r"\ldots ",
    "。": ".",
    "¢": r"\text{ cents}",
    "⟶": r"\to ",
    "→": r"\to ",
    "⇒": r"\Rightarrow ",
    **{chr(0x3B1 + i + (i > 16)): rf"\{name} " for i, name in enumerate(GREEK)},
    **{
        chr(0x391 + i + (i > 16)): rf"\{name.capitalize()} "
        for i, name in enumerate(GREEK)
        if name in _GREEK_CAPITALS
    },
    "ϕ": r"\phi ",
}
INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u2061\u2062\u2063\xad"))

# Commands that change how something looks, and not what it is.
_SILENT = (
    *("left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl"),
    *("biggr", "displaystyle", "textstyle", "limits", "nolimits", "rm", "bf", "it", "mathstrut"),
    *("strut", "middle", "boldmath", "tiny", "small", "large", "Large", "LARGE", "huge", "Huge"),
)
COMMANDS = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "sfrac", "nicefrac"), r"\frac"),
    **dict.fromkeys(("tbinom", "dbinom"), r"\binom"),
    **dict.fromkeys(("times", "ast", "bullet", "cdotp", "star"), r"\cdot"),
    **dict.fromkeys(("leq", "leqslant", "leqq"), r"\le"),
    **dict.fromkeys(("geq", "geqslant", "geqq"), r"\ge"),
    "lt": "<",
    "gt": ">",
    "neq": r"\ne",
    **dict.fromkeys(("varnothing", "empty", "O"), r"\emptyset"),
    "lbrace": r"\{",
    "rbrace": r"\}",
    "lbrack": "[",
    "rbrack": "]",
    "lparen": "(",
    "rparen": ")",
    **dict.fromkeys(("lvert", "rvert", "vert"), "|"),
    **dict.fromkeys(("degree", "degrees", "deg"), r"^{\circ}"),
    **dict.fromkeys(("infin", "infty"), r"\infty"),
    "isin": r"\in",
    "div": "/",
    **dict.fromkeys(("lor", "vee"), r"\text{ or }"),
    **dict.fromkeys(("land", "wedge"), r"\text{ and }"),
    "backslash": r"\setminus",
    **dict.fromkeys(("dots", "cdots", "dotsc", "dotsb"), r"\ldots"),
    "varphi": r"\phi",
    "varepsilon": r"\epsilon",
    "tg": r"\tan",
    "lg": r"\log",
    **dict.fromkeys(("ctg", "cotg"), r"\cot"),
    **dict.fromkeys(("rightarrow", "longrightarrow"), r"\to"),
    **dict.fromkeys(("implies", "Longrightarrow"), r"\Rightarrow"),
    **dict.fromkeys(_SILENT, ""),
    **dict.fromkeys(["quad", "qquad", "thinspace", "enspace", "space"], " "),
}
# Commands whose argument stays and which say nothing themselves.
STYLES = (
    *("mathbf", "mathit", "mathsf", "boldsymbol", "bm", "mathcal", "boxed", "fbox"),
    *("ensuremath", "mathop", "underline", "emph", "operatorname*"),
)
TEXTS = (
    *("text", "textbf", "textit", "textrm", "texttt", "textsf", "textnormal", "mbox"),
    *("mathrm", "hbox", "operatorname"),
)
