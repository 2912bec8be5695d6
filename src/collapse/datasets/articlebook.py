"""The articles of the embedded corpus, as rules of a grammar: a small encyclopedia in the raw layout of WikiText.

A text is one article: lines that begin with a space and end with a space, headings between equals signs, empty lines
around them, marks apart from words. Names of towns, rivers, birds, halls and people are drawn from long lists with
Zipf-like weights, so that many of them are rare. The title comes back all through its article; people keep their name
and pronoun, and a town is never near itself.
"""

import re

from collapse.datasets.grammar import Forms, Grammar, Rules, zipf
from collapse.datasets.storybook import STORY_FORMS, STORY_RULES

_WOMEN = "Anna, Emma, Rose, Lucy, Nora, Ella, Clara, Ada, Edith, Agnes"
_MEN = "Henry, Peter, Jack, Ben, Max, Hugh, Walter, Simon, Oscar, Rufus"

ARTICLE_FORMS: Forms = {
    "he": dict.fromkeys(_WOMEN.split(", "), "she") | dict.fromkeys(_MEN.split(", "), "he"),
    "his": dict.fromkeys(_WOMEN.split(", "), "her") | dict.fromkeys(_MEN.split(", "), "his"),
}

_BIRDS = (
    "grey heron, red kite, black swan, white stork, wood duck, little owl, barn owl, reed warbler, sand martin, "
    "golden plover, brown dipper, marsh harrier, green finch, stone curlew, tree pipit, snow bunting, sea eagle, "
    "rock dove, corn crake, night jar, blue tit, hill mynah, pied avocet, crested ibis, mute swan, tufted duck, "
    "short eared owl, grey shrike, willow tit, spotted crake, black tern, ring ouzel"
)

# Templates of sentences begin with a space; alternatives are ordered from common to rare.
ARTICLE_RULES: Rules = {
    "article": ((1, " \n = {kind:kind}"),),
    "kind": (
        (0.36, "{town:town} = \n \n{:town_lead} \n{:town_history}{:town_people}", "town"),
        (0.26, "River {river:river} = \n \n{:river_lead} \n{:river_course}{:river_wildlife}", "river"),
        (0.18, "{bird:title_bird} = \n \n{:bird_lead} \n{:bird_description}{:bird_range}", "bird"),
        (0.12, "{hall:hall} = \n \n{:hall_lead} \n{:hall_history}{:hall_rooms}", "hall"),
        (0.08, "{first:first} {last:last} = \n \n{:person_lead} \n{:person_life}{:person_works}", "person"),
    ),
    # towns
    "town_lead": ((1, " {town} is a {size:size} {sort:sort} in {region:region} .{site:site}{known:known}"),),
    "site": (
        (0.6, " It lies on the River {river:river} .", "river"),
        (0.25, " It is {miles:miles} miles from {near:town!town} .", "near"),
        (0.15, " It stands on a {hill:hill} hill .", "hill"),
    ),
    "known": (
        (0.4, " The {sort} is known for its {goods:goods} .", "goods"),
        (0.3, "", "none"),
        (0.2, " Its {:public} is the oldest in {region} .", "oldest"),
        (0.1, " Many {goods:craft} makers live here .", "makers"),
    ),
    "town_history": (
        (
            0.75,
            " \n = = History = = \n \n {town} was founded by {founder:founder} in {:old_year} .{:event}{:late} \n",
            "yes",
        ),
        (0.25, "", "no"),
    ),
    "event": (
        (0.4, " The {:public} was built in {:year} .", "built"),
        (0.25, " The {:public} was lost to {:disaster} in {:year} .", "lost"),
        (0.2, " A {:trade} market was held here until {:year} .", "market"),
        (0.15, "", "none"),
    ),
    "late": (
        (0.7, "", "none"),
        (0.2, " Today {town} has {:thousands} @,@ 000 people .", "people"),
        (0.1, " The railway came to {town} in {:year} .", "railway"),
    ),
    "town_people": (
        (0.6, "", "no"),
        (0.4, " \n = = People = = \n \n * {:first} {:last} , {:job} \n{:people_2}", "yes"),
    ),
    "people_2": ((0.5, ""), (0.5, " * {:first} {:last} , {:job} \n{:people_3}", "more")),
    "people_3": ((0.6, ""), (0.4, " * {:first} {:last} , {:job} \n", "more")),
    # rivers
    "river_lead": (
        (1, " The River {river} is a {size:size} river in {region:region} . It flows {way:way} to {mouth:town} ."),
    ),
    "river_course": (
        (
            0.7,
            " \n = = Course = = \n \n The {river} rises in a {source:source} near {spring:town!mouth} .{:bridge} \n",
            "yes",
        ),
        (0.3, "", "no"),
    ),
    "bridge": (
        (0.5, "", "none"),
        (0.3, " It turns the mill of {mill:town!mouth} .", "mill"),
        (0.2, " A bridge was built over the {river} at {mouth} in {:year} .", "bridge"),
    ),
    "river_wildlife": (
        (0.4, "", "no"),
        (0.6, " \n = = Wildlife = = \n \n The {bird:bird} is common on the {river} .{:fish} \n", "yes"),
    ),
    "fish": ((0.5, ""), (0.5, " The river is rich in {:fishes} .", "fish")),
    # birds
    "bird_lead": (
        (1, " The {bird} is a {size:bird_size} {colour:colour} bird . It lives in {habitat:habitat} .{:diet}{:seen}"),
    ),
    "seen": (
        (0.6, "", "none"),
        (0.2, " It was first seen near {:town} in {:year} .", "first"),
        (0.15, " It is rare in {:region} .", "rare"),
        (0.05, " {:first} {:last} painted it .", "painted"),
    ),
    "diet": ((0.8, " It eats {food:food} and {other:food!food} .", "two"), (0.2, " It eats {food:food} .", "one")),
    "bird_description": (
        (
            0.75,
            " \n = = Description = = \n \n The {bird} has a {:colour} {:part} and {:colour} legs .{:eggs} \n",
            "yes",
        ),
        (0.25, "", "no"),
    ),
    "eggs": ((0.4, ""), (0.6, " It lays {:count} eggs in {:nest} .", "eggs")),
    "bird_range": (
        (0.6, "", "no"),
        (0.4, " \n = = Range = = \n \n * River {:river} \n{:range_2}", "yes"),
    ),
    "range_2": ((0.4, ""), (0.6, " * River {:river} \n{:range_3}", "more")),
    "range_3": ((0.6, ""), (0.4, " * {:town} \n", "more")),
    # halls
    "hall_lead": (
        (
            1,
            " {hall} is a {style:style} {type:type} in {town:town} .{:view}"
            " It was built in {:old_year} for {:first} {last:last} .",
        ),
    ),
    "view": (
        (0.5, "", "none"),
        (0.3, " The {type} looks over the River {:river} .", "river"),
        (0.2, " It has {:thousands} @,@ 000 books and a {:room} .", "books"),
    ),
    "hall_history": (
        (0.7, " \n = = History = = \n \n The {last} family lived here until {:year} .{:fate} \n", "yes"),
        (0.3, "", "no"),
    ),
    "fate": (
        (0.4, "", "none"),
        (0.35, " {hall} was sold to {:first} {:last} in {:year} .", "sold"),
        (0.25, " The {type} is now a {:use} .", "use"),
    ),
    "hall_rooms": (
        (0.7, "", "no"),
        (0.3, " \n = = Rooms = = \n \n * the {:room} \n{:rooms_2}", "yes"),
    ),
    "rooms_2": ((0.4, ""), (0.6, " * the {:room} \n", "more")),
    # people
    "person_lead": (
        (
            1,
            " {first} {last} was a {job:job} from {region:region} . {first.He} was born in {:year} in {town:town} .",
        ),
    ),
    "person_life": (
        (
            0.75,
            " \n = = Life = = \n \n {last} was the {child:child} of a {:job} . {first.He} {deed:deed} .{:death} \n",
            "yes",
        ),
        (0.25, "", "no"),
    ),
    "death": ((0.3, ""), (0.7, " {last} died in {:year} at {first.his} home in {:town} .", "died")),
    "person_works": (
        (0.6, "", "no"),
        (0.4, " \n = = Works = = \n \n * The {:adjective} {:noun} ( {:year} ) \n{:works_2}", "yes"),
    ),
    "works_2": ((0.5, ""), (0.5, " * The {:adjective} {:noun} ( {:year} ) \n", "more")),
    # names
    "town": zipf(
        "Arden, Marlow, Selby, Whitby, Dunmore, Ashford, Kelso, Thorne, Norwick, Malden, Oakham, Stowe, Redcar, "
        "Bexley, Calder, Farley, Hawick, Ludlow, Penrith, Tenby, Wexford, Ilkley, Brampton, Corby, Epping, Fairfax, "
        "Garston, Jedburgh, Kendal, Lynton, Morpeth, Otley, Quarley, Rugby, Sandown, Totnes, Uckfield, Yarrow, "
        "Zennor, Voss, Alston, Bodmin, Chard, Dursley, Eccles, Frome, Goole, Hexham, Ivybridge, Keswick, Leek, Mold, "
        "Newquay, Olney, Poole, Ripon, Settle, Truro, Upwey, Wells, Yeovil, Acle, Bude, Cromer",
        1.4,
    ),
    "river": zipf(
        "Wye, Tamar, Derwent, Esk, Nene, Ouse, Severn, Teme, Avon, Lune, Isla, Kennet, Mole, Rother, Swale, Usk, "
        "Windrush, Yare, Brue, Clyde, Deben, Fal, Gade, Hodder, Itchen, Jed, Kym, Leven, Mersey, Nidd, Orwell, "
        "Parrett, Quin, Ribble, Stour, Tyne",
        1.4,
    ),
    "bird": zipf(_BIRDS, 1.5),
    "title_bird": tuple((w, name[0].upper() + name[1:], name) for w, name in zipf(_BIRDS, 1.5)),
    "hall": zipf(
        "Thornbury House, Highgate Manor, Oldcastle, Bellwood Hall, Saint Mary Chapel, Gorse Lodge, Long Barn, "
        "Crowfield Abbey, Ivy Court, Moat Grange, Weir Cottage, Drake Hall, Fenwick Tower, Holm Priory, Juniper "
        "Hall, Kestrel House, Pound Farm, Temple Court, Vine Hall, Yew Lodge, Amber Hall, Blackwell Keep, Chantry "
        "House, Dove Cottage",
        1.5,
    ),
    "first": tuple(pair for women, men in zip(zipf(_WOMEN), zipf(_MEN), strict=True) for pair in (men, women)),
    "last": zipf(
        "Smith, Hill, Wood, Baker, Carter, Green, Fisher, Miller, Stone, Hunt, Cooper, Marsh, Potter, Sawyer, "
        "Turner, Webb, Dyer, Frost, Grange, Lamb, Nash, Page, Reeve, Tyler, Usher, Vance, Yates, Quill, Ibbot, Zeal, "
        "Abbot, Bell, Clay, Drew, East, Ford, Gale, Hood, Ivory, Jay",
        1.3,
    ),
    # words
    "size": zipf("small, large, quiet, narrow, short, remote", 0.7),
    "sort": zipf("town, village, port, city, parish", 0.7),
    "region": zipf("Kent, Devon, Essex, Wales, Norfolk, Dorset, Fife, Cornwall, Rutland, Orkney", 0.7),
    "miles": zipf("two, five, ten, six, twelve, forty", 0.7),
    "hill": zipf("green, steep, low, chalk, wooded", 0.7),
    "goods": zipf("market, cheese, wool, apples, boats, clocks, honey, bells, paper, salt, lace", 0.7),
    "craft": zipf("cheese, boat, clock, bell, paper, lace", 0.7),
    "founder": zipf("monks, farmers, the king, sailors, the Romans, miners, a bishop", 0.7),
    "public": zipf("church, school, mill, bridge, castle, library, market hall, harbour, well, prison", 0.7),
    "disaster": zipf("a fire, a flood, a storm, the war", 0.7),
    "trade": zipf("cattle, fish, wool, horse, corn, book", 0.7),
    "thousands": zipf("4, 12, 2, 70, 30, 9", 0.7),
    "job": zipf("farmer, poet, painter, doctor, sailor, teacher, judge, singer, miner, priest, spy", 0.7),
    "way": zipf("north, south, east, west", 0.7),
    "source": zipf("forest, lake, marsh, hill, cave, field", 0.7),
    "fishes": zipf("trout, eels, salmon, perch, pike, carp, tench", 0.7),
    "bird_size": zipf("small, large, slender, heavy, shy", 0.7),
    "colour": zipf("brown, white, black, grey, red, yellow, green, blue, pink", 0.7),
    "habitat": zipf("forests, marshes, rivers, parks, hills, farms, cliffs, deserts", 0.7),
    "food": zipf("fish, seeds, worms, mice, berries, frogs, snails, nuts, bees, ants", 0.7),
    "part": zipf("head, beak, tail, breast, wing bar, crest", 0.7),
    "count": zipf("two, four, three, five, six", 0.7),
    "nest": zipf("a tree, the grass, a hole, the reeds, a wall, an old barn", 0.7),
    "style": zipf("stone, brick, ruined, wooden, grand, lonely", 0.7),
    "type": zipf("house, church, castle, farm, inn", 0.7),
    "use": zipf("school, museum, hotel, library, prison, ruin", 0.7),
    "room": zipf("great hall, kitchen, library, tower, cellar, rose garden, music room, ice house", 0.7),
    "child": zipf("only child, first child, third child", 0.7),
    "deed": zipf(
        "lived alone, was never married, went to sea, taught music, kept bees, was sent to prison, sailed to India, "
        "grew rich, lost a fortune, saw the war",
        0.7,
    ),
    "adjective": zipf("Red, Old, Lost, Silent, Green, Winter, Golden, Empty", 0.7),
    "noun": zipf("House, River, Garden, Road, Ship, Bell, Mirror, Island", 0.7),
    "old_year": zipf("1540, 1480, 1640, 1320, 1570, 1210, 1610, 1390, 1450, 1260, 1180, 1080", 0.6),
    "year": zipf("1850, 1920, 1750, 1870, 1910, 1820, 1690, 1900, 1780, 1860, 1730, 1930", 0.6),
}

_MARKS, _FIELD = re.compile(r"\s*([.,!?\"])\s*"), re.compile(r"(\{[^}]*\})")


def _apart(template: str) -> str:
    """Set the marks of a template apart from words, as WikiText does; what stands in braces stays."""

    def literal(text: str) -> str:
        end = text[len(text.rstrip()) :]
        return re.sub(" +", " ", _MARKS.sub(r" \1 ", text)).rstrip() + end

    return "".join(part if part.startswith("{") else literal(part) for part in _FIELD.split(template))


def articles() -> Grammar:
    """Return the grammar of the embedded articles."""
    return Grammar(ARTICLE_RULES, ARTICLE_FORMS, start="article")


FLAT = 0.25
"""Exponent that all weights of the articles are raised to in the library: rare names are nearly as common as others."""


def library() -> Grammar:
    """Return the grammar of the embedded library: the sentences of the articles, in other frequencies.

    To pre-train on: it is to the articles what a large mixed corpus is to WikiText. Names and words are nearly equally
    common, and the kinds of articles have their weights in reverse: there most are on people, halls and birds.
    """
    rules = {name: tuple((w**FLAT, *rest) for w, *rest in rule) for name, rule in ARTICLE_RULES.items()}
    kinds = ARTICLE_RULES["kind"]
    rules["kind"] = tuple((w, *rest) for (_, *rest), (w, *_) in zip(kinds, reversed(kinds), strict=True))
    return Grammar(rules, ARTICLE_FORMS, start="article")


def stories() -> Grammar:
    """Return the grammar of the embedded stories (`storybook`) in the layout of the articles: a line each.

    Weights are the same, and so are the probabilities: a story and its line stand for each other.
    """
    rules = {name: tuple((w, _apart(t), *label) for w, t, *label in rule) for name, rule in STORY_RULES.items()}
    return Grammar({**rules, "line": ((1, " {:story} \n"),)}, STORY_FORMS, start="line")
