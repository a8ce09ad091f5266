"""Answers are found in whatever a trace says, in one pass over it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprune.answers import extract_answer

ROOT = Path(__file__).parents[2]
TRACES = ROOT.parent / "shared" / "data" / "traces"


class TestBoxes:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            (r"so it is \boxed{5}.", "5"),
            (r"\boxed{\frac{1}{2}} and that is it", r"\frac{1}{2}"),
            (r"\boxed{\left\{x : \sqrt{x} < 2\right\}}", r"\left\{x : \sqrt{x} < 2\right\}"),
            (r"first \boxed{1}, no: \boxed{2}", "2"),
            (r"\boxed {7}", "7"),
            ("\\boxed\n{ 7 }", "7"),
            (r"\fbox{8}", "8"),
            (r"\boxed{\text{east}}", r"\text{east}"),
            (r"\boxed{5\text{ cm}}", r"5\text{ cm}"),
            (r"\boxed{1} and \boxed{-2", "1"),
            (r"\boxed{\boxed{3}}", "3"),
            (r"\boxed{1 \boxed{2}", "2"),
            (r"a set { of \boxed{4}", "4"),
            (r"} } \boxed{4} }", "4"),
            (r"x \\ \boxed{6}", "6"),
            (r"$\\boxed{6}$", "6"),
            (r"\boxed{9} is what I put in \boxed{}.", "9"),
            (r"\boxed{}", None),
            (r"\boxed{", None),
            (r"\boxed 5", None),
            (r"boxed{5}", None),
            (r"\boxedness{5}", None),
            ("no answer", None),
            ("", None),
        ],
    )
    def test_the_last_balanced_box_that_is_not_empty(self, text, answer):
        assert extract_answer(text, "math") == answer
        assert extract_answer(text) == answer

    @pytest.mark.parametrize(
        "piece", ["\\boxed{", "\\boxed{}", "\\boxed ", "\\", "{", "}", "**", " "]
    )
    @pytest.mark.parametrize("kind", ["auto", "choice"])
    def test_a_hostile_megabyte_is_read_in_one_pass(self, piece, kind):
        # Of quadratic time this would take minutes.
        text = (piece * 1_000_000)[:1_000_000]
        assert extract_answer(text + r"\boxed{B}", kind) == "B"
        assert extract_answer(text + "\nanswer: answer: *** ", kind) is None or "{}" in piece

    def test_boxes_nested_deeply(self):
        assert extract_answer(r"\boxed{" * 100_000 + "5" + "}" * 100_000) == "5"

    @given(
        st.text(alphabet="\\boxed{}ABI 5.*$()>\n", max_size=60), st.sampled_from(["auto", "choice"])
    )
    def test_whatever_the_text_there_is_an_answer_or_none(self, text, kind):
        answer = extract_answer(text, kind)
        assert answer is None or answer.strip() == answer != ""

    @pytest.mark.skipif(not TRACES.is_dir(), reason=f"no recorded traces in {TRACES}")
    @pytest.mark.parametrize(
        ("name", "rows", "cut_off"),
        [
            ("sky-t1_aime24", 540, 0),
            ("llama-3b-rg_aime24", 3000, 0),
            ("gpt-5_aime", 3840, 0),
            # Three traces end inside their second box. They are recorded without an answer; the
            # first box counts here, since it balances.
            ("r1-distill-llama-8b_math500", 4880, 3),
        ],
    )
    def test_recorded_traces_give_their_recorded_answers(self, name, rows, cut_off):
        import pyarrow.parquet as pq

        table = pq.read_table(TRACES / f"{name}.parquet", columns=["text", "answer"])
        others = []
        for row in table.to_pylist():
            recorded = row["answer"] and row["answer"].strip()
            if extract_answer(row["text"], "math") != recorded:
                others.append(row)
        assert (table.num_rows, len(others)) == (rows, cut_off)
        for row in others:
            assert row["answer"] is None
            assert "}" not in row["text"].rpartition("\\boxed{")[2]


class TestChoices:
    @pytest.mark.parametrize(
        "text",
        [
            r"\boxed{B}",
            r"\boxed{(B)}",
            r"\boxed{\text{B}}",
            r"\boxed{\text{(B)}}",
            r"\boxed{\textbf{(B)}}",
            r"\boxed{ B. }",
            "The answer is (B)",
            "The answer is B.",
            "The correct answer is **B**, because A is wrong.",
            "**Answer: B**",
            "The answer is B - the others are wrong.",
            "The answer is (B)-(the others are wrong).",
            "**Answer:** B",
            "ANSWER: B",
            "Final answer: $B$",
            "The answer should be option B.",
            "The answer is A. No, the answer is B.",
            "It is A or B.\n\nB",
            "It is A or B.\n**B**\n",
            "The answer is A, or not.<channel|>B",
        ],
    )
    def test_the_letter_is_found_with_and_without_being_told_to_look(self, text):
        assert extract_answer(text) == "B"
        assert extract_answer(text, "choice") == "B"

    @pytest.mark.parametrize(
        "text",
        [
            r"\boxed{b}",
            r"\boxed{B. 12}",
            r"\boxed{\text{(B) } 12}",
            r"\boxed{12}, so the answer is B",
            "</think>\nB. Polar bond",
            "<channel|>B. True, False",
            "QED ==> B",
            "I choose (B).",
        ],
    )
    def test_forms_that_are_letters_only_where_letters_are_asked_for(self, text):
        assert extract_answer(text, "choice") == "B"
        assert extract_answer(text) != "B"

    @pytest.mark.parametrize("letter", "ABCDEFGHIJ")
    def test_ten_letters(self, letter):
        assert extract_answer(f"The answer is ({letter}).") == letter
        assert extract_answer(rf"\boxed{{{letter}}}") == letter

    @pytest.mark.parametrize(
        "text",
        [
            "The answer is a number.",
            "The answer is, I think, 5.",
            "The answer is I'd say five.",
            "The answer I found is unclear.",
            "The answer is Bob.",
            "The answer is Apple",
            "The answer is A-level mathematics.",
            "**Answer: C++**",
            "The answer is A+B.",
            "The answer is B^2.",
            "The answer is D_4.",
            "The answer is C's.",
            "The answer is 5.",
            "Option B is wrong.",
            "The answer is K.",
            r"\boxed{12}",
        ],
    )
    def test_prose_is_no_letter(self, text):
        assert extract_answer(text, "choice") is None

    def test_a_box_outranks_what_is_said(self):
        assert extract_answer(r"\boxed{C}. The answer is B.") == "C"

    def test_mathematics_is_left_alone(self):
        assert extract_answer(r"\boxed{(B)}", "math") == "(B)"
        assert extract_answer("The answer is B", "math") is None
