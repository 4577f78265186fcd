"""The categories of the shop: their names, their materials and their shares of the products.

The counts are uneven, as in a small shop. One category has three products in a sample of any size.
"""

from typing import NamedTuple

from shop.words import Names

SOFT = ("cotton", "leather", "knit", "denim")
HARD = ("ceramic", "metal", "glass", "wood")
SEAT = ("wood", "metal", "leather")
RARE = "teapot"
NUM_RARE = 3


class Goods(NamedTuple):
    """A category: its names, its possible materials and its weight among all products."""

    names: Names
    materials: tuple[str, ...]
    weight: int


GOODS: dict[str, Goods] = {
    "t-shirt": Goods(Names(("t-shirt", "tee", "top"), ("T恤", "短袖", "上衣")), ("cotton", "knit"), 230),
    "mug": Goods(Names(("mug", "coffee cup", "cup"), ("马克杯", "咖啡杯", "杯子")), HARD, 215),
    "shoe": Goods(Names(("shoe", "sneaker", "trainer"), ("鞋", "运动鞋", "休闲鞋")), SOFT, 200),
    "bag": Goods(Names(("bag", "tote", "handbag"), ("手提包", "托特包", "女包")), SOFT, 190),
    "trousers": Goods(Names(("trousers", "pants", "slacks"), ("裤子", "长裤", "休闲裤")), SOFT, 170),
    "cushion": Goods(Names(("cushion", "throw pillow", "sofa pillow"), ("抱枕", "靠垫", "沙发枕")), SOFT, 160),
    "lamp": Goods(Names(("lamp", "table light", "desk light"), ("台灯", "灯具", "床头灯")), (*HARD, "cotton"), 150),
    "skirt": Goods(Names(("skirt", "midi skirt", "a-line"), ("裙子", "半身裙", "短裙")), SOFT, 140),
    "hat": Goods(Names(("hat", "sun hat", "headwear"), ("帽子", "遮阳帽", "礼帽")), SOFT, 135),
    "chair": Goods(Names(("chair", "dining seat", "seat"), ("椅子", "餐椅", "靠背椅")), SEAT, 125),
    "bottle": Goods(Names(("bottle", "flask", "water bottle"), ("瓶子", "水壶", "水瓶")), HARD, 120),
    "vase": Goods(Names(("vase", "flower holder", "urn"), ("花瓶", "花器", "插花瓶")), HARD, 110),
    "scarf": Goods(Names(("scarf", "shawl", "wrap"), ("围巾", "披肩", "围脖")), ("cotton", "knit"), 100),
    "bowl": Goods(Names(("bowl", "salad bowl", "dish"), ("碗", "沙拉碗", "汤碗")), HARD, 95),
    "backpack": Goods(Names(("backpack", "rucksack", "school bag"), ("双肩包", "背包", "书包")), SOFT, 90),
    "boot": Goods(Names(("boot", "ankle boot", "bootie"), ("靴子", "短靴", "马丁靴")), SOFT, 75),
    "clock": Goods(Names(("clock", "wall clock", "timepiece"), ("挂钟", "时钟", "钟表")), HARD, 65),
    "table": Goods(Names(("table", "desk", "coffee table"), ("桌子", "书桌", "茶几")), ("wood", "metal", "glass"), 55),
    "stool": Goods(Names(("stool", "bar stool", "footstool"), ("凳子", "圆凳", "吧凳")), SEAT, 42),
    "umbrella": Goods(Names(("umbrella", "parasol", "rain cover"), ("雨伞", "遮阳伞", "伞")), ("cotton", "denim"), 30),
    RARE: Goods(Names(("teapot", "kettle", "tea maker"), ("茶壶", "泡茶壶", "烧水壶")), HARD, 0),
}


def stock(num_products: int) -> list[str]:
    """Return the category of each of `num_products` products, grouped by category."""
    total = sum(goods.weight for goods in GOODS.values())
    common = num_products - NUM_RARE
    counts = {kind: common * goods.weight // total for kind, goods in GOODS.items()}
    counts[RARE] = NUM_RARE
    counts[next(iter(GOODS))] += num_products - sum(counts.values())
    return [kind for kind, count in counts.items() for _ in range(count)]
