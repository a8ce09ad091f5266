from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprune.checkpoints import REASONING_WORDS, CheckpointSpec, Cut, detector, truncate

WORDS_2 = CheckpointSpec.parse("reasoning_words:2")

# Texts in which reasoning words, their beginnings and what ends a word come often.
WORDS = [
    "wait",
    "Wait",
    "so",
    "SO",
    "since",
    "therefore",
    "waiting",
    "so_",
    "wai",
    "t",
    "it",
    "é",
    "2",
]
PIECES = st.sampled_from([*WORDS, " ", ",", "\n", "'", "—"])
TEXTS = st.lists(PIECES, max_size=40).map("".join)
CUTS = st.lists(st.integers(0, 200), max_size=30)


def fed(spec, chunks):
    """The cuts that a detector reports, a token a chunk."""
    watch = detector(spec)
    return [cut for cut in [*(watch.feed(chunk, 1) for chunk in chunks), watch.finish()] if cut]


def chunked(text, places):
    ends = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(ends)]


@pytest.mark.parametrize("text", ["tokens:500", "reasoning_words:25", "tokens:1"])
def test_a_specification_reads_what_it_writes(text):
    assert str(CheckpointSpec.parse(text)) == text
    assert CheckpointSpec.parse(text) == CheckpointSpec.parse(str(CheckpointSpec.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        *("foo", "", "tokens", "tokens:", "tokens:0", "tokens:000", "tokens:-5", "tokens:1.5"),
        *("words:3", "TOKENS:5", "tokens:5 ", "tokens:5\n", "tokens:٣", "tokens:" + "9" * 5000),
    ],
)
def test_a_bad_specification_is_refused_in_one_line_that_says_what_to_write(text):
    with pytest.raises(
        ValueError, match="is not understood: write tokens:K or reasoning_words:W"
    ) as e:
        CheckpointSpec.parse(text)
    assert "\n" not in str(e.value)


def test_the_message_quotes_what_was_written():
    with pytest.raises(ValueError, match=r"^checkpoint 'foo' is not understood: .* above 0$"):
        CheckpointSpec.parse("foo")


def test_a_list_of_words_can_be_given_in_any_case():
    spec = CheckpointSpec.parse("reasoning_words:1", ["Ergo", "VOILÀ"])
    assert truncate("so wait, voilà!", spec) == "so wait, voilà"


@pytest.mark.parametrize("words", [["on the other hand"], ["let's"], [""], []])
def test_words_that_could_never_be_found_are_refused(words):
    with pytest.raises(ValueError, match="word"):
        CheckpointSpec.parse("reasoning_words:25", words)


@pytest.mark.parametrize("count", [0, -1])
def test_a_checkpoint_at_nothing_is_refused(count):
    with pytest.raises(ValueError, match="1 or more"):
        CheckpointSpec("tokens", count)


def test_the_words_of_the_paper_are_in_the_list():
    assert {"wait", "thus", "since"} <= REASONING_WORDS


class TestTokens:
    def test_the_cut_is_at_the_end_of_the_kth_token(self):
        assert fed(CheckpointSpec("tokens", 3), ["One", " two", " three", " four"]) == [Cut(13, 3)]

    def test_a_chunk_of_several_tokens_counts_whole(self):
        watch = detector(CheckpointSpec("tokens", 3))
        assert watch.feed("ab", 2) is None
        assert watch.feed("cdefg", 5) == Cut(7, 7)
        assert watch.feed("h", 1) is None
        assert watch.finish() is None

    def test_tokens_without_text_count_too(self):
        # Half of a character of several bytes is a token that has no text yet.
        assert fed(CheckpointSpec("tokens", 2), ["", "é", "x"]) == [Cut(1, 2)]

    def test_a_shorter_trace_has_no_checkpoint(self):
        assert fed(CheckpointSpec("tokens", 3), ["a", "b"]) == []

    @given(st.lists(TEXTS, max_size=20), st.integers(1, 20))
    def test_a_recorded_text_is_cut_as_the_stream_was(self, tokens, count):
        spec = CheckpointSpec("tokens", count)
        text = "".join(tokens)
        cuts = fed(spec, tokens)
        expected = text[: cuts[0].num_chars] if cuts else None
        assert truncate(text, spec, token_texts=tokens) == expected

    def test_without_tokens_a_recorded_text_is_cut_by_their_usual_length(self):
        spec = CheckpointSpec("tokens", 5)
        assert truncate("x" * 100, spec) == "x" * 18
        assert truncate("x" * 100, spec, chars_per_token=2) == "x" * 10
        assert truncate("x" * 18, spec) == "x" * 18
        assert truncate("x" * 17, spec) is None


class TestReasoningWords:
    @pytest.mark.parametrize(
        ("text", "prefix"),
        [
            ("Wait, so it is 5.", "Wait, so"),
            ("WAIT! hMm...", "WAIT! hMm"),
            ("waiting, also, wait: soon so", "waiting, also, wait: soon so"),
            ("wait-and-see if", "wait-and-see if"),
            ("let's see; then", "let's see; then"),
            ("wait_1 wait2 2wait so so", "wait_1 wait2 2wait so so"),
            ("wait\n\nso\n", "wait\n\nso"),
            ("wait—so—", "wait—so"),
            ("wait", None),
            ("waits sos", None),
            ("", None),
        ],
    )
    def test_whole_words_in_any_case(self, text, prefix):
        assert truncate(text, WORDS_2) == prefix

    def test_a_word_may_come_in_pieces(self):
        assert fed(WORDS_2, ["so wa", "it", ", yes"]) == [Cut(7, 2)]

    def test_a_word_that_goes_on_is_another_word(self):
        assert fed(WORDS_2, ["so wait", "ing"]) == []
        assert fed(WORDS_2, ["so w", "a", "i", "t", "e", "r"]) == []

    def test_a_word_counts_when_its_end_is_seen_and_not_before(self):
        watch = detector(WORDS_2)
        assert watch.feed("so wait", 2) is None
        assert watch.feed("", 1) is None
        assert watch.feed(" then", 1) == Cut(7, 2)

    def test_the_end_of_the_text_ends_its_last_word(self):
        watch = detector(WORDS_2)
        assert watch.feed("so wait", 2) is None
        assert watch.finish() == Cut(7, 2)
        assert watch.finish() is None

    def test_a_cut_is_reported_once(self):
        assert len(fed(WORDS_2, ["so so so ", "so so ", "so"])) == 1

    def test_a_detector_remembers_no_more_than_a_word(self):
        watch = detector(WORDS_2)
        for _ in range(1000):
            watch.feed("x" * 1000, 1)
        assert all(len(kept) < 100 for kept in vars(watch).values() if isinstance(kept, str))

    @given(TEXTS, CUTS, st.integers(1, 6))
    def test_it_does_not_matter_how_the_text_is_cut_into_chunks(self, text, places, count):
        spec = CheckpointSpec("reasoning_words", count)
        whole = fed(spec, [text])
        chunks = chunked(text, places)
        cuts = fed(spec, chunks)
        assert [cut.num_chars for cut in cuts] == [cut.num_chars for cut in whole]
        for cut in cuts:
            # Of the chunks, just those that it takes to have all of the prefix.
            assert len("".join(chunks[: cut.num_tokens - 1])) < cut.num_chars
            assert len("".join(chunks[: cut.num_tokens])) >= cut.num_chars

    @given(TEXTS, st.integers(1, 6))
    def test_a_prefix_ends_in_its_last_reasoning_word(self, text, count):
        prefix = truncate(text, CheckpointSpec("reasoning_words", count))
        if prefix is not None:
            assert text.startswith(prefix)
            assert prefix.lower().endswith(tuple(REASONING_WORDS))
            # A trace that is resumed from its prefix is at the same checkpoint.
            assert truncate(prefix, CheckpointSpec("reasoning_words", count)) == prefix
