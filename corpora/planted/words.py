"""The tables that the families draw from: a few hundred everyday words and what is true of them."""


def listed(text: str) -> tuple[str, ...]:
    """The entries of a table of single words."""
    return tuple(text.split())


def rows(text: str) -> tuple[tuple[str, ...], ...]:
    """The rows of a table of words with colons between the cells."""
    return tuple(tuple(entry.split(":")) for entry in text.split())


WOMEN = listed("Ada Cara Ella Iris Kim Mia Rosa Vera")
MEN = listed("Ben Dan Finn Hugo Leo Noah Paul Sam")
PEOPLE = tuple((name, "she") for name in WOMEN) + tuple((name, "he") for name in MEN)
"""A first name and the pronoun that goes with it."""

NAMES = tuple(name for name, _ in PEOPLE)

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

COLOURS = listed("red blue green yellow white black brown grey orange pink")

PLACES = listed(
    "park school market beach forest library garden farm lake station museum bridge river castle"
)

PLURAL_RULES = {
    "most nouns only add the letter s": "apple:apples book:books coin:coins pen:pens card:cards "
    "stamp:stamps shell:shells egg:eggs stone:stones cake:cakes key:keys cup:cups hat:hats "
    "ball:balls lamp:lamps chair:chairs boat:boats bell:bells",
    "nouns that end in x, s, sh or ch add es": "box:boxes fox:foxes bus:buses dish:dishes "
    "brush:brushes watch:watches glass:glasses",
    "a final y after a consonant turns into ies": "city:cities story:stories berry:berries "
    "baby:babies party:parties family:families",
    "a final f or fe turns into ves": "leaf:leaves knife:knives wolf:wolves loaf:loaves",
    "this noun is irregular and has to be learned": "child:children man:men woman:women "
    "mouse:mice goose:geese foot:feet tooth:teeth",
    "some nouns that end in o add es": "potato:potatoes tomato:tomatoes hero:heroes",
}
"""Each rule with its nouns, written singular:plural."""

PLURALS = tuple((*pair, rule) for rule, pairs in PLURAL_RULES.items() for pair in rows(pairs))
"""Singular, plural and the rule that leads from one to the other."""

THINGS = tuple(one for one, _, rule in PLURALS if "only add" in rule)

OPPOSITES = rows(
    "hot:cold big:small tall:short fast:slow old:new open:closed full:empty hard:soft heavy:light "
    "wet:dry clean:dirty early:late rich:poor strong:weak loud:quiet bright:dark wide:narrow "
    "thick:thin deep:shallow high:low near:far cheap:expensive easy:difficult happy:sad "
    "brave:afraid sharp:dull"
)

SPELLING = listed(
    "apple banana garden window bottle summer winter pepper letter yellow carrot coffee rabbit "
    "kitten ladder mirror button basket ticket rocket planet tunnel lemon bread butter cheese "
    "sugar honey flower forest river castle farmer teacher sister mother paper pencil school "
    "market music dream light water storm snow sand stone grass tree seed bird fish horse"
)
"""Words to spell, reverse, sort and take letters from."""

ANIMALS = tuple(
    tuple(line.split(", "))
    for line in """cow, brown, on a farm, grass, a calf
horse, brown, on a farm, hay, a foal
pig, pink, on a farm, corn, a piglet
sheep, white, on the hills, grass, a lamb
fox, red, in the forest, mice, a cub
bear, brown, in the forest, honey, a cub
wolf, grey, in the forest, deer, a pup
rabbit, grey, in a burrow, carrots, a kitten
frog, green, in a pond, flies, a tadpole
duck, brown, on a pond, water plants, a duckling
seal, grey, by the sea, fish, a pup
whale, blue, in the sea, krill, a calf
penguin, black, on the ice, fish, a chick
crow, black, in a tree, seeds, a chick
owl, brown, in a barn, mice, an owlet
camel, brown, in the desert, dry plants, a calf
lion, yellow, on the plains, zebras, a cub
tiger, orange, in the jungle, deer, a cub
monkey, brown, in the jungle, fruit, an infant
parrot, green, in the jungle, seeds, a chick""".splitlines()
)
"""Animal, colour, home, food, young."""

WEIGHTS = rows(
    "coin:6:grams mouse:20:grams egg:60:grams apple:150:grams cup:300:grams book:500:grams "
    "hen:2:kilograms cat:4:kilograms chair:7:kilograms bicycle:14:kilograms dog:20:kilograms "
    "table:30:kilograms sheep:80:kilograms pig:120:kilograms piano:300:kilograms "
    "horse:500:kilograms car:1200:kilograms elephant:5000:kilograms"
)
"""Things from the lightest to the heaviest, with a typical weight."""

UNITS = rows(
    "hour:hours:minutes:60 minute:minutes:seconds:60 day:days:hours:24 week:weeks:days:7 "
    "year:years:months:12 metre:metres:centimetres:100 kilometre:kilometres:metres:1000 "
    "kilogram:kilograms:grams:1000 dozen:dozen:pieces:12 euro:euros:cents:100 "
    "decade:decades:years:10"
)
"""Large unit, its plural, small unit, how many of the small make one of the large."""

HOW_TO = tuple(
    tuple(part.strip().split(" / ") for part in entry.split("|"))
    for entry in """
make tea
  | boil fresh water in a pot / take a clean cup from the shelf
  | put the tea leaves in the hot water
  | wait four minutes / add a spoon of honey

boil an egg
  | fill a small pot with water / take the egg out of the cold
  | put the egg in the boiling water
  | wait six minutes / cool it under cold water

plant a seed
  | find a pot with holes / fill a pot with dark soil
  | press the seed into the soil
  | water it every morning / place it near a sunny window

paint a chair
  | put old paper on the floor / wash the chair with warm water
  | brush the paint on the wood
  | let it dry for one night / wash the brush with soap

bake bread
  | mix flour, water and salt / warm a bowl for the flour
  | fold the dough and let it rise
  | bake it until it is brown / let it cool on a board

wash a dog
  | fill a tub with warm water / brush the dry fur of the dog
  | rub the soap into the fur
  | dry it with an old towel / give it a small treat

fix a flat tyre
  | take the wheel off the bicycle / pull the tube out of the tyre
  | glue a patch on the hole
  | pump air into the tyre / put the wheel back on

build a sand castle
  | find a flat place near the water / fill a bucket with wet sand
  | turn the bucket over and lift it
  | dig a deep ditch around it / put a flag on the top

learn a poem
  | read the whole poem aloud / copy the poem by hand
  | repeat two lines at a time
  | say it to a friend / say it again before bed

pack a bag
  | make a list of what you need / lay all things on the bed
  | put the heavy things at the bottom
  | close it and test the weight / keep the ticket on top

make a fruit salad
  | wash all the fruit / choose four kinds of fruit
  | cut the fruit into small pieces
  | mix it with lemon juice / serve it in a cold bowl

feed the birds
  | buy seeds at the market / hang a small house in a tree
  | fill the house with seeds
  | watch from far away / clean it every week

grow tomatoes
  | choose a warm place in the garden / buy three young plants
  | tie each plant to a stick
  | water the roots and not the leaves / pick them when they are red

save a file
  | open the menu at the top / finish the page you are on
  | choose a clear name for the file
  | check that it is in the folder / make a copy on a disk
""".strip().split("\n\n")
)
"""What is to be done, ways to start, the one step that matters, ways to end."""

CODE_VERBS = listed("make find change get")
NUMBER_NOUNS = listed("price score age size")
LIST_NOUNS = listed("items numbers scores prices")
TEXT_NOUNS = listed("text word line name")

LIST_WORK = (
    ("returns the sum of the list {x}", "sum({x})"),
    ("returns the largest of the list {x}", "max({x})"),
    ("returns the smallest of the list {x}", "min({x})"),
    ("returns how many entries the list {x} has", "len({x})"),
    ("returns the list {x} in sorted order", "sorted({x})"),
    ("returns the first entry of the list {x}", "{x}[0]"),
    ("returns the last entry of the list {x}", "{x}[-1]"),
    ("returns the list {x} in reverse", "{x}[::-1]"),
    ("returns the mean of the list {x}", "sum({x}) / len({x})"),
)
TEXT_WORK = (
    ("returns the string {x} in capital letters", "{x}.upper()"),
    ("returns the string {x} in small letters", "{x}.lower()"),
    ("returns the string {x} backwards", "{x}[::-1]"),
    ("returns the number of letters in the string {x}", "len({x})"),
    ("returns the words of the string {x} as a list", "{x}.split()"),
    ("returns the string {x} without spaces at the ends", "{x}.strip()"),
    ("returns the first letter of the string {x}", "{x}[0]"),
)
