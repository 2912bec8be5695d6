import re
from math import exp, fsum, inf, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse.datasets import articlebook, storybook
from collapse.datasets.grammar import Grammar, words
from collapse.datasets.sentences import Acceptor, complete
from collapse.seeding import stream

MARK = "</s>"


@pytest.fixture(scope="module")
def grammar():
    return articlebook.articles()


@pytest.fixture(scope="module")
def sample(grammar):
    return grammar.sample(4000, stream("test", "articlebook"))


def cut_down(kind: str) -> Grammar:
    """The articles of one kind, with lists of at most two words: few enough to write them all down."""
    rules = articlebook.ARTICLE_RULES
    kept = {"town", "food"}  # lists of which two different words are drawn
    plain = {name for name, rule in rules.items() if all("{" not in template for _, template, *_ in rule)}
    optional = {name for name in plain if any(not template for _, template, *_ in rules[name])}
    short = {name: rules[name][: 2 if name in kept else 1] for name in plain - optional}
    return Grammar(
        {**rules, **short, "kind": tuple(arm for arm in rules["kind"] if arm[2] == kind)},
        articlebook.ARTICLE_FORMS,
        start="article",
    )


# the grammar


@pytest.mark.parametrize("kind", ["town", "river", "bird", "hall", "person"])
def test_the_probabilities_of_all_articles_of_a_cut_grammar_are_exact_and_sum_to_1(kind):
    small = cut_down(kind)
    table = list(small.enumerate())
    assert 10 < len(table) < 20_000
    assert len({text for text, _ in table}) == len(table)
    assert fsum(exp(logprob) for _, logprob in table) == pytest.approx(1, abs=1e-12)
    for text, logprob in table[:: max(1, len(table) // 200)]:
        assert small.log_probability(text) == pytest.approx(logprob, rel=1e-12)
    assert small.entropy() == pytest.approx(-fsum(exp(p) * p for _, p in table), rel=1e-12)


def test_an_article_by_hand(grammar):
    text = (
        " \n = Agnes Zeal = \n \n Agnes Zeal was a spy from Orkney . She was born in 1930 in Cromer . \n"
        " \n = = Works = = \n \n * The Empty Island ( 1930 ) \n"
    )
    rules = articlebook.ARTICLE_RULES

    def p(rule, label):
        weights = {(x or [t])[0]: w for w, t, *x in rules[rule]}
        return weights[label] / sum(weights.values())

    chosen = [
        ("kind", "person"), ("first", "Agnes"), ("last", "Zeal"), ("job", "spy"), ("region", "Orkney"),
        ("year", "1930"), ("town", "Cromer"), ("person_life", "no"), ("person_works", "yes"), ("adjective", "Empty"),
        ("noun", "Island"), ("year", "1930"), ("works_2", ""),
    ]  # fmt: skip
    assert grammar.log_probability(text) == pytest.approx(sum(log(p(*c)) for c in chosen), rel=1e-12)
    assert grammar.log_probability(text.replace("She was", "He was")) == -inf
    assert grammar.log_probability(text.replace("Agnes Zeal was", "Agnes Jay was")) == -inf
    assert grammar.log_probability(text[:-1]) == -inf


def test_the_mean_of_minus_log_p_is_the_entropy(grammar, sample):
    scores = np.array([grammar.log_probability(text) for text in sample])
    assert np.isfinite(scores).all()
    assert -scores.mean() == pytest.approx(grammar.entropy(), abs=4 * scores.std() / sqrt(len(scores)))


def test_articles_have_the_raw_layout(sample):
    for text in sample[:500]:
        assert text.endswith(" \n")
        first, title, blank, *rest = text.split("\n")[:-1]
        assert (first, blank) == (" ", " ")
        assert re.fullmatch(r" = [^=]+ = ", title)
        assert all(re.fullmatch(r" (= = \w+ = = |\* .+ |[^=*]+ \. )?", line) for line in rest)
        for line in rest:  # marks stand apart, as in WikiText
            assert not re.search(r"\w[.,()]|[(]\w", line)


def test_the_title_comes_back_in_its_article(grammar, sample):
    for text in sample[:500]:
        facts = grammar.facts(text)
        title = {"river": "river", "person": "last"}.get(facts["kind"], facts["kind"])
        assert text.count(facts[title]) >= 1 + (title != "bird")  # a bird's title has a capital


def test_some_entities_are_rare_and_some_are_common(grammar):
    found = grammar.marginals()
    for kind in ("town", "river", "bird", "hall", "last"):
        shares = sorted(found[kind].values())
        assert shares[0] < 1.5e-3 < 0.05 < shares[-1], kind
    rare = [p for kind in ("town", "bird", "hall", "last") for p in found[kind].values() if p < 1e-3]
    assert len(rare) > 30
    assert found["kind"] == pytest.approx({"town": 0.36, "river": 0.26, "bird": 0.18, "hall": 0.12, "person": 0.08})


def test_lines_of_stories_have_the_probabilities_of_the_stories():
    lines, stories = articlebook.stories(), storybook.stories()
    assert lines.entropy() == pytest.approx(stories.entropy(), rel=1e-12)
    drawn = stories.sample(500, stream("test", "lines"))
    made = [f" {' '.join(words(text))} \n" for text in drawn]
    assert [lines.log_probability(line) for line in made] == pytest.approx(
        [stories.log_probability(text) for text in drawn], rel=1e-12
    )
    assert len(set(made)) == len(set(drawn))


# sentences


def units(text: str) -> list[str]:
    """The sentences of a whole text."""
    return complete(MARK + text.replace("\n", f"\n{MARK}"), MARK)


def test_complete_sentences_by_hand():
    assert complete("rden . It is old . The", MARK) == ["It is old ."]
    assert complete("</s> = River Wye = \n</s> The Wye is", MARK) == ["= River Wye ="]
    assert complete(" = = \n</s> * the tower \n</s> * the", MARK) == ["* the tower"]
    assert complete("</s> It is old . It is new .", MARK) == ["It is old .", "It is new ."]
    assert complete("</s></s> It has 4 @.@ 5 x . \n", MARK) == ["It has 4 @.@ 5 x ."]
    assert complete("</s> It is 4 .5 high", MARK) == []
    assert complete("old .", MARK) == complete("", MARK) == []


def test_every_sentence_of_an_article_is_accepted(grammar, sample):
    acceptor = Acceptor(grammar)
    found = [sentence for text in sample[:300] for sentence in units(text)]
    assert acceptor.share(found) == 1
    assert acceptor.share([]) == 0
    assert acceptor.share([found[0], "Nothing ."]) == 0.5


@pytest.mark.parametrize(
    ("sentence", "right"),
    [
        ("Arden is a small town in Kent .", True),
        ("Arden is a small town in Kent . ", False),
        ("Arden is a town in Kent .", False),
        ("= Agnes Zeal =", True),
        ("= Agnes Agnes =", False),
        ("= = Works = =", True),
        ("* the ice house", True),
        ("* Nora Jay , spy", True),
        ("It turns the mill of Cromer .", True),
        ("She kept bees .", True),
        ("It kept bees .", False),
        ("Zeal died in 1930 at her home in Arden .", True),
        ("Arden", False),
        ("", False),
    ],
)
def test_sentences_one_by_one(grammar, sentence, right):
    assert Acceptor(grammar).accepts(sentence) is right


# forms of a variable; exclusions inside a sentence, across sentences, of what comes later; sentences that may lack
SMALL = {
    "text": ((1, " {hero:name} met {friend:name!hero} .{:second}{:third} \n * {friend} and {last:name!hero} \n"),),
    "second": (
        (1, " {hero.He} gave {friend} a {gift:thing} ."),
        (1, " {other:name!friend} and {friend} came .", "came"),
    ),
    "third": ((1, ""), (1, " {friend} liked {hero} , {friend.he} said .", "liked"), (1, " {hero.He} slept .", "slept")),
    "name": ((3, "Ann"), (2, "Al"), (1, "Bo")),
    "thing": ((1, "ball"), (1, "red ball")),
}
SMALL_FORMS = {"he": {"Ann": "she", "Al": "he", "Bo": "he"}}


@pytest.fixture(scope="module")
def small():
    made = Grammar(SMALL, SMALL_FORMS, start="text")
    return Acceptor(made), {sentence for text, _ in made.enumerate() for sentence in units(text)}


def test_what_is_accepted_is_what_texts_hold(small):
    acceptor, language = small
    assert len(language) > 30
    assert all(map(acceptor.accepts, language))
    vocabulary = sorted({word for sentence in language for word in sentence.split()})
    tried = 0
    for sentence in sorted(language):  # all sentences one word away, and those that lack or double a word
        parts = sentence.split()
        for i in range(len(parts)):
            for middle in ([], [parts[i], parts[i]], *([word] for word in vocabulary)):
                other = " ".join([*parts[:i], *middle, *parts[i + 1 :]])
                assert acceptor.accepts(other) is (other in language), other
                tried += 1
    assert tried > 1000
    for known in ("Ann liked Ann , she said .", "Ann and Ann came .", "* Al and Ann"):
        assert acceptor.accepts(known) is (known in language)


@given(st.lists(st.sampled_from(words("Ann Al Bo met and came . * She He gave a ball liked")), max_size=6))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_other_sentences_are_refused(small, parts):
    acceptor, language = small
    sentence = " ".join(parts)
    assert acceptor.accepts(sentence) is (sentence in language)


def test_sentences_that_begin_inside_a_value_or_without_space_are_refused():
    with pytest.raises(ValueError, match="begins inside a value of 'who'"):
        Acceptor(Grammar({"text": ((1, " {who:name} {who} \n"),), "name": ((1, "A . B"), (1, "C"))}, {}, start="text"))
    with pytest.raises(ValueError, match="no white space"):
        Acceptor(Grammar({"text": ((1, " A .{:name} \n"),), "name": ((1, "B"), (1, "C"))}, {}, start="text"))
