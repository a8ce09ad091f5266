"""What holds for any two answers."""

from hypothesis import given
from hypothesis import strategies as st

from deepprune.answers import equivalent, read_value

PIECES = st.sampled_from(
    [
        *("5", "12", "1/2", "0.5", "x", "n", "i", "e", "=", "<", ",", ";", " ", "+", "-", "^", "_"),
        *("(", ")", "[", "]", "{", "}", "|", ":", "%", "$", "'", "*", "&", "\\", r"\frac", r"\{"),
        *(r"\}", r"\sqrt", r"\pi", r"\infty", r"\pm", r"\cup", r"\in", r"\le", r"\text{ cm}", "!"),
        *(
            r"\text{",
            r"\begin{pmatrix}",
            r"\end{pmatrix}",
            r"\pmod 7",
            "²",
            "½",
            "√",
            "°",
            "\ud83d",
        ),
    ]
)
STRANGE = st.lists(PIECES, max_size=12).map("".join)


@given(STRANGE, STRANGE)
def test_whatever_is_compared_the_relation_is_symmetric_and_never_raises(a, b):
    assert equivalent(a, a)
    assert equivalent(a, b) == equivalent(b, a)
    if read_value(a).key == read_value(b).key and not (read_value(a).names or read_value(b).names):
        assert equivalent(a, b)


FRACTIONS = st.fractions(min_value=-50, max_value=50, max_denominator=40)


@given(FRACTIONS, st.integers(2, 9))
def test_a_number_keeps_its_value_in_every_spelling(number, factor):
    over, under = number.numerator, number.denominator
    minus, size = ("-" if over < 0 else ""), abs(over)
    whole, rest = divmod(size, under)
    spellings = [
        f"{over}/{under}",
        rf"\frac{{{over * factor}}}{{{under * factor}}}",
        rf"{minus}\dfrac{{{size}}}{{{under}}}",
        rf"${minus}\left(\frac{{{size}}}{{{under}}}\right)$",
        rf"\frac{{{over}\cdot {factor}}}{{{under}\cdot {factor}}}",
        rf"{over} \div {under}",
        rf"x = \tfrac{{{over}}}{{{under}}}",
    ]
    if rest and whole:
        spellings.append(f"{minus}{whole} {rest}/{under}")
        spellings.append(rf"{minus}{whole}\frac{{{rest}}}{{{under}}}")
    assert len({read_value(spelling).key for spelling in spellings}) == 1


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_a_set_has_no_order_and_a_tuple_has(numbers, random):
    shuffled = random.sample(numbers, len(numbers))
    as_set, as_list = (rf"\{{{', '.join(map(str, numbers))}\}}", ",".join(map(str, shuffled)))
    repeated = len(set(numbers)) < len(numbers)
    assert (read_value(as_set).key == read_value(as_list).key) == (not repeated)
    tuples = [f"({', '.join(map(str, order))})" for order in (numbers, shuffled)]
    assert equivalent(*tuples) == (numbers == shuffled)
