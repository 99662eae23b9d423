"""The texts of a bundle's query bank: what people might ask of a photo library.

A photo that answers hundreds of these well answers anything well, and that is
what search.py must know of it (docs/relevance.md). Kinds of things come from
the classifier's class names, scenes, food, doings and the rest from the lists
below, and whole sentences are put together from parts, so that nothing here
comes from a data set. Nobody reads them: only their number and variety count.
"""

from __future__ import annotations

import random
from typing import Final

from models.teachers import class_names

SENTENCES: Final = 1200
SEED: Final = 6  # of the sentences; another draws others

_SCENES: Final = """
abandoned house; airport; alley; amusement ride; apartment; aquarium tank; arcade; attic;
backyard; balcony; bank of a river; bar counter; barn; basement; bathroom sink; bay; beach;
bedroom; boat trip; bookshelf; bridge at night; building site; bus stop; busy market; cafe;
campfire; campsite; canal; canyon; car park; castle; cathedral; cave; cemetery; christmas market;
church; city at night; city skyline; classroom; cliff; closet; clouds; coast; concert; corridor;
courtyard; cove; creek; crossroads; dance floor; desert; dining table; dock; empty street;
escalator; factory; fair; farm; field of flowers; fireplace; fireworks; fish market; flea market;
fog; forest; fountain; frozen lake; full moon; garage; garden; gas station; glacier; golf course;
greenhouse; gym; harbour; haystacks; hallway; highway; hills; hospital; hot air balloons; hotel
room; house; iceberg; island; jungle; kitchen; lagoon; lake; landscape; library; lighthouse;
living room; meadow; metro station; mosque; motorway; mountain top; museum; neon signs; night sky;
northern lights; ocean; office; old town; opera house; orchard; palace; park; pier; playground;
pond; port; power lines; prison; pub; railway; rainbow; rainy day; restaurant; rice terraces;
river; road; rocks; roof; ruins; runway; sand dunes; school; sea; shipyard; shop window; shore;
skyline; skyscraper; snow; snowy mountains; square; stadium; stage; stairs; stars; station; storm;
street; suburb; sunrise; sunset; supermarket; swimming pool; temple; tennis court; terrace;
theatre; toilet; tower; town; traffic jam; train station; tree; tunnel; underground; underwater;
valley; village; vineyard; volcano; warehouse; waterfall; waves; wedding hall; wheat field;
windmill; winter landscape; woods; workshop; yard; zoo
"""
_THINGS: Final = """
antique; apple; apple pie; armchair; asparagus; baby; baby clothes; backpack; bag; bagel;
baguette; ball; balloon; banana; basket; bath; beans; beard; bed; bee; beer; berries; bicycle;
bird; birthday cake; biscuits; blanket; blood; blue car; board game; boat; bones; book; boots;
bottle; bouquet; bowl; box; boy; bracelet; bread; breakfast; bride; broccoli; bucket; bug; burger;
bus; business card; butter; butterfly; button; cable; cactus; cake; calendar; camel; camera;
candle; candy; cap; car; cardboard; carrot; cartoon; cat; cauliflower; ceiling; cereal;
certificate; chair; chart; cheese; cherries; chess; chicken; child; chips; chocolate; cigarette;
clock; clothes; cocktail; coffee; coin; comic; computer; contract; cookies; corn; cow; crab;
crowd; cup; curtains; cushion; diagram; diamond; dice; dinner; dinosaur; doctor; document; dog;
doll; dolphin; donkey; door; dragon; drawing; dress; drink; drone; drums; duck; dumplings; ear;
earrings; egg; elephant; email; engine; envelope; eyes; face; family; farmer; feather; fence;
fire; fire engine; fish; flag; floor; flowers; fly; food; foot; fork; fox; french fries; frog;
fruit; fungus; furniture; game console; garlic; ginger; giraffe; girl; glass of wine; glasses;
gloves; gold; grandmother; grapes; graph; grass; group photo; guitar; hair; ham; hammer; hand;
handbag; handwriting; hat; headphones; heart; helicopter; honey; horse; hot dog; ice cream; id
card; identity card; insect; invoice; jacket; jam; jeans; jewellery; juice; kettle; key; keyboard;
kitten; kiwi; knife; ladder; lamp; laptop; lasagne; leaf; leather; leek; legs; lemon; letter;
lion; lipstick; lizard; lobster; lock; logo; luggage; magazine; make-up; man; mango; map; mask;
meat; medal; medicine; melon; meme; menu; microphone; milk; mirror; monkey; monster; motorbike;
mouse; mouth; mushroom; music; nails; necklace; newborn; newspaper; noodles; nose; notes; number
plate; nurse; nuts; olives; onion; orange; owl; oyster; paint; painting; pan; pancakes; panda;
papaya; paper; parcel; parking ticket; parrot; passport; pasta; peach; pear; peas; pen; penguin;
people; pepper; phone; photographer; piano; picnic; pie; pig; pillow; pineapple; pizza; plane;
plant; plate; plum; police; policeman; pomegranate; poster; potato; presentation; present; price
tag; printer; prize; pumpkin; puppet; puppy; purse; puzzle; rabbit; radio; radish; raspberries;
rat; receipt; recipe; rice; ring; robot; rocket; rope; rose; rubbish; sail; salad; salmon; salt;
sandals; sandwich; sauce; sausage; scarf; school bus; scissors; scooter; scooter rider;
screenshot; sculpture; serial number; shark; sheep; shell; ship; shirt; shoes; shopping list;
shorts; sign; signature; singer; skateboard; skeleton; skirt; slippers; smile; smoke; snail;
snake; sneakers; soap; socks; sofa; soldier; soup; spaceship; spaghetti; spider; spinach; spoon;
squid; squirrel; stamp; statue; steak; stew; stone; stool; strawberries; suit; suitcase;
sunflower; sunglasses; surfboard; sushi; sweater; sword; syringe; t-shirt; table; tablet; tart;
tattoo; taxi; tea; teacher; teddy bear; teeth; telescope; television; tent; text; ticket; tie;
tiger; toast; tomato; tools; toothbrush; torch; towel; toy; tractor; traffic light; train; tram;
trousers; truck; tulips; turtle; twins; tyre; ufo; umbrella; uniform; van; vase; vegetables;
violin; wall; wallet; wasp; watch; water bottle; watermelon; wedding; wedding dress; whale;
wheelchair; whiteboard; wifi password; window; wine; wolf; woman; wood; worm; x-ray; yacht;
yoghurt; zebra; zucchini
"""
_EVENTS: Final = """
anniversary; art exhibition; arguing; baby shower; baking; barbecue; bathing; birthday party;
boxing match; breaking news; building a house; camping; carnival; celebrating; christening;
christmas dinner; climbing; company meeting; cooking; crying; cycling; dancing; diving; driving;
drinking beer; easter; eating; election; exam; fashion show; feeding; fighting; fishing; flying a
kite; football match; funeral; gardening; going to school; graduation; halloween; hiking; holiday;
honeymoon; hugging; hunting; jogging; juggling; jumping; karaoke; kissing; knitting; laughing;
lunch with friends; making music; marathon; marching; moving house; new year's eve; opening
presents; painting a wall; parade; playing cards; playing chess; praying; protest; racing;
reading; recycling; riding; rowing; running; sailing; selfie; sewing; shopping; singing; skating;
skiing; sleeping; snowboarding; studying; sunbathing; surgery; surfing; swimming; talking;
travelling; tree planting; video call; volleyball; volunteering; waiting; walking; washing the
dishes; wedding ceremony; working; wrestling; writing; yoga; accident; earthquake; flood;
hurricane; something beautiful; something broken; something red; something funny; black and white;
blurry; close-up; colourful; dark; pattern; reflection; shadow; silhouette; symmetry; texture;
vintage; abstract art; at night; in the rain; in the morning; from above
"""
_WHO: Final = (
    "a man", "a woman", "a boy", "a girl", "a baby", "two men", "two women", "two children",
    "a group of people", "a crowd", "an old man", "a young woman", "a couple", "a family",
    "a child in a red shirt", "a man with a beard", "a woman in a black dress", "a man in a suit",
    "a dog", "a black dog", "a brown dog", "two dogs", "a cat", "a kitten", "a horse", "a bird",
    "a cow", "a sheep", "an elephant", "a bear", "a zebra", "a giraffe", "a person in a helmet",
    "a soldier", "a chef", "a football player", "a tennis player", "a skier", "a surfer",
    "a cyclist", "a musician", "students", "tourists", "workers", "friends", "three girls",
)  # fmt: skip
_DOES: Final = (
    "running", "jumping", "sitting", "standing", "walking", "sleeping",
    "eating", "drinking", "smiling at the camera", "looking out of a window",
    "playing with a ball", "holding an umbrella", "riding a bicycle",
    "talking on a phone", "reading a book", "climbing", "swimming", "dancing",
    "throwing a frisbee", "catching a ball", "waiting", "taking a picture",
    "lying down", "carrying a bag", "pushing a cart", "playing the guitar",
    "wearing a hat", "making a face", "cooking", "pointing at something",
)  # fmt: skip
_WHERE: Final = (
    "on a beach", "in the snow", "in a park", "on a street", "in a kitchen", "in a living room",
    "in the water", "on the grass", "in front of a building", "at a table", "in a field",
    "on a mountain", "in a restaurant", "at a market", "at night", "on a boat", "in a train",
    "next to a car", "on a bench", "in a forest", "by a river", "on a stage", "in a stadium",
    "at an airport", "in an office", "under a tree", "on a bed", "in a bathroom", "near a fence",
    "on a skateboard", "in the rain", "on a bridge", "in a classroom", "at a party", "on rocks",
)  # fmt: skip
_STILL: Final = (
    "a plate of food on a table", "a vase of flowers on a table", "a bathroom with a white toilet",
    "a kitchen with a stove and a refrigerator", "a bedroom with a large bed",
    "a living room with a couch and a television", "a red bus on a city street",
    "a train at a station", "an airplane flying in the sky", "a boat on a lake",
    "a motorcycle parked on the side of a road", "a stop sign at a corner",
    "a clock on a tower", "a bowl of fruit", "a pizza with cheese and vegetables",
    "a laptop on a desk", "a teddy bear on a chair", "a fire hydrant on a sidewalk",
    "a traffic light above a street", "a herd of elephants", "a flock of birds",
    "boats in a harbour",
    "a sandwich and fries on a plate", "a cup of coffee and a piece of cake", "a bunch of bananas",
    "a bookshelf full of books", "an empty parking lot", "snow covered mountains under a blue sky",
    "a wooden bridge over a river", "an old building with many windows", "a bottle of wine",
    "a page of text", "a shop with many products on shelves", "a field of yellow flowers",
)  # fmt: skip


def bank_texts() -> tuple[str, ...]:
    """Every text once: kinds, scenes, things, doings, and sentences of who does what where."""
    kinds = [names[0] for names in class_names()]
    listed = [*kinds, *_listed(_SCENES), *_listed(_THINGS), *_listed(_EVENTS), *_STILL]
    return tuple(dict.fromkeys([*listed, *_sentences(SENTENCES)]))


def _listed(block: str) -> list[str]:
    return [" ".join(entry.split()) for entry in block.split(";")]


def _sentences(count: int) -> list[str]:
    draw = random.Random(SEED)
    return [f"{draw.choice(_WHO)} {draw.choice(_DOES)} {draw.choice(_WHERE)}" for _ in range(count)]
