"""The stories of the embedded data set, as rules of a grammar; and a tiny grammar, all of whose texts can be listed."""

from collapse.datasets.grammar import Forms, Grammar, Rules, zipf

# The stories. Templates of sentences begin with a space; alternatives are ordered from common to rare.

_GIRLS = "Lily, Mia, Anna, Sara, Emma, Lucy, Sue, Amy, Molly, Ella, Rose, Nora"
_BOYS = "Tim, Tom, Ben, Max, Jack, Leo, Billy, Bob, Peter, Finn, Noah, Henry"


def _by_gender(girl: str, boy: str) -> dict[str, str]:
    return dict.fromkeys(_GIRLS.split(", "), girl) | dict.fromkeys(_BOYS.split(", "), boy)


STORY_FORMS: Forms = {
    "he": _by_gender("she", "he"),
    "him": _by_gender("her", "him"),
    "his": _by_gender("her", "his"),
}

STORY_RULES: Rules = {
    "story": ((1, "{opening:opening} {child:child} and {friend:friend} {begin:begin}{plot:plot}"),),
    "opening": (
        (0.56, "One day,", "day"),
        (0.2, "One night,", "night"),
        (0.12, "In spring,", "spring"),
        (0.07, "In winter,", "winter"),
        (0.03, "At dawn,", "dawn"),
        (0.02, "Long ago,", "long ago"),
    ),
    "child": ((0.54, "{hero:girl}", "girl"), (0.46, "{hero:boy}", "boy")),
    "begin": (
        (0.5, "took a {look:look} {object:object} to the {place:place}.", "took"),
        (0.3, "found a {look:look} {object:object} at the {place:place}.", "found"),
        (0.2, "got a {look:look} {object:object} from {hero.his} {giver:family}.", "got"),
    ),
    "plot": (
        (0.26, " {turn:turn} the {object} was gone.{outcome:lost_end}", "lost"),
        (0.2, " {friend} wanted the {object}.{outcome:share_end}", "share"),
        (0.16, " {turn:turn} {hero} broke the {object}.{outcome:broken_end}", "broken"),
        (0.13, " {hero} gave {friend} the {object}.{outcome:gift_end}", "gift"),
        (0.1, " They met a {mood:mood} {animal:animal}.{outcome:animal_end}", "animal"),
        (0.06, " {turn:turn} it began to {storm:storm}.{outcome:storm_end}", "storm"),
        (0.04, " {turn:turn} the wind took the {object}.{outcome:stuck_end}", "stuck"),
        (0.02, " {turn:turn} they heard a noise.{outcome:noise_end}", "noise"),
        (0.02, " {turn:turn} a voice came from the {object}.{outcome:magic_end}", "magic"),
        (0.01, " They dug a hole and saw a box.{outcome:treasure_end}", "treasure"),
    ),
    "lost_end": (
        (0.7, " {friend} found it {where:where}.{ending:happy}", "found"),
        (0.3, " They never found it.{ending:sad}", "gone"),
    ),
    "share_end": (
        (0.75, ' {hero} said, "We can share."{ending:happy}', "shared"),
        (0.25, ' {hero} said, "It is mine."{ending:sad}', "refused"),
    ),
    "broken_end": (
        (0.7, " {friend} fixed it with {tool:tool}.{ending:happy}", "fixed"),
        (0.3, " No one could fix it.{ending:sad}", "ruined"),
    ),
    "gift_end": (
        (0.85, ' {friend} said, "Thank you, {hero}!"{ending:happy}', "thanked"),
        (0.15, " But {friend} did not like it.{ending:sad}", "disliked"),
    ),
    "animal_end": (
        (0.75, " They gave it {food:food}.{ending:happy}", "fed"),
        (0.25, " It took the {object} and ran away.{ending:sad}", "stolen"),
    ),
    "storm_end": (
        (0.8, " Soon the sun came out.{ending:happy}", "safe"),
        (0.2, " The {look} {object} got wet.{ending:sad}", "wet"),
    ),
    "stuck_end": (
        (0.7, " A {mood:mood} {animal:animal} got it down.{ending:happy}", "animal"),
        (0.3, " No one could reach it.{ending:sad}", "unreached"),
    ),
    "noise_end": (
        (0.8, " It was only a {mood:mood} {animal:animal}.{ending:happy}", "animal"),
        (0.2, " They ran and left the {object}.{ending:sad}", "fled"),
    ),
    "magic_end": (
        (0.6, " It was only a dream.{closing:closing}", "dream"),
        (0.4, " It was a magic {object}!{ending:happy}", "real"),
    ),
    "treasure_end": (
        (0.6, " It was full of gold.{ending:happy}", "gold"),
        (0.4, " But the box was empty.{ending:sad}", "empty"),
    ),
    "happy": (
        (0.4, " {hero} hugged {friend}.{closing:closing}", "hugged"),
        (0.3, " They were {good:good}.{closing:closing}", "felt"),
        (0.2, " Then {hero} ate {treat:food}.{closing:closing}", "ate"),
        (0.1, " They played until {time:time}.{closing:closing}", "played"),
    ),
    "closing": (
        (0.82, "", "none"),
        (0.09, " The end.", "end"),
        (0.06, " {hero} and {friend} were best friends.", "best friends"),
        (0.02, " It was the best day of all.", "best day"),
        (0.01, " {friend} never forgot the {look} {object}.", "never forgot"),
    ),
    "sad": (
        (0.6, " {hero} went home and felt {grief:bad}.{lesson:lesson}", "went home"),
        (0.25, " {hero.His} {comfort:family} gave {hero.him} a hug.{lesson:lesson}", "comforted"),
        (0.15, " That night, {hero} could not sleep.{lesson:lesson}", "sleepless"),
    ),
    "lesson": (
        (0.8, "", "none"),
        (0.15, " {friend} said sorry the next day.", "sorry"),
        (0.05, " It was a very sad day.", "sad day"),
    ),
    "girl": zipf(_GIRLS, 1.2),
    "boy": zipf(_BOYS, 1.2),
    "friend": zipf("Sam, Kim, Alex, Pip, Coco, Robin, Fred, Zoe, Dot, Gus, Kit, Lola, Ned, Pam, Rex, Tess", 1.2),
    "object": zipf(
        "ball, doll, car, kite, book, boat, hat, train, drum, balloon, truck, robot, teddy, plane, bike, puzzle, "
        "crown, flute, wagon, bell, scarf",
        1.2,
    ),
    "place": zipf(
        "park, garden, beach, forest, farm, river, lake, yard, zoo, school, hill, market, pond, library, castle, mill",
        1.2,
    ),
    "look": zipf("red, blue, big, green, small, yellow, new, white, black, pink, brown, golden, silver, wooden, shiny"),
    "family": zipf("mom, dad, grandma, brother, sister, grandpa, aunt, uncle, teacher, cousin"),
    "turn": zipf("Then, Suddenly, But soon, Later, At noon"),
    "where": zipf(
        "under a tree, behind a rock, in the grass, behind a wall, in the mud, under a bench, near the path, "
        "in the sand, under a log, near the gate, in the hay",
    ),
    "bad": zipf("sad, scared, angry, upset, worried, lonely, tired, sorry, hurt"),
    "good": zipf("happy, glad, proud, excited, thankful, calm, safe, cheerful"),
    "mood": zipf("hungry, friendly, lost, sleepy, thirsty, fat, grumpy, wise"),
    "animal": zipf("dog, cat, bird, rabbit, frog, duck, mouse, bear, fox, turtle, pony, sheep, goat, monkey, lion"),
    "food": zipf("cookies, cake, apples, soup, bread, juice, candy, milk, pie, berries, cheese, honey, nuts"),
    "tool": zipf("glue, tape, string, paint, wire, wood, nails"),
    "storm": zipf("rain, snow, thunder, hail"),
    "time": zipf("dinner, dark, bedtime, sunset, lunch, noon"),
}

TINY_FORMS: Forms = {"he": {"Ann": "she", "Al": "he", "Alan": "he"}}

TINY_RULES: Rules = {
    "story": ((3, "{:who} had a {object:object}.{rain:rain} {plot:plot}"), (1, "Nothing happened.{end:end}")),
    "who": ((2, "Here is {hero:name}. {hero.He}"), (1, "{hero:name}")),
    "name": zipf("Ann, Al, Alan"),
    "object": ((2, "ball"), (1, "balloon")),
    "rain": ((3, "", "no"), (1, " It rained.", "yes")),
    "plot": (
        (2, "{friend:name!hero} took the {object}, {hero} the {other:object!object}.{end:end}", "trade"),
        (1, "{hero.He} lost the {object}.{end:end}", "lost"),
    ),
    "end": ((2, "", "no"), (1, " The end.", "yes")),
}


def stories() -> Grammar:
    """Return the grammar of the embedded stories."""
    return Grammar(STORY_RULES, STORY_FORMS)


def tiny() -> Grammar:
    """Return a grammar that uses every construct and makes few enough texts to write them all down."""
    return Grammar(TINY_RULES, TINY_FORMS)
