"""The words for colours, patterns, materials and builds, in English and Chinese.

They describe the products of the shop and the pretraining objects. The first word of each list is the usual one, the
others are synonyms.
"""

from typing import NamedTuple


class Names(NamedTuple):
    """The words for one concept, by language."""

    en: tuple[str, ...]
    zh: tuple[str, ...]


COLOURS: dict[str, Names] = {
    "red": Names(("red", "scarlet"), ("红色", "大红")),
    "yellow": Names(("yellow", "lemon"), ("黄色", "柠檬黄")),
    "green": Names(("green", "grass green"), ("绿色", "草绿")),
    "blue": Names(("blue", "royal blue"), ("蓝色", "宝蓝")),
    "purple": Names(("purple", "violet"), ("紫色", "葡萄紫")),
    "brown": Names(("brown", "chocolate"), ("棕色", "咖色")),
    "white": Names(("white", "ivory"), ("白色", "纯白")),
    "black": Names(("black", "jet black"), ("黑色", "墨黑")),
}

PATTERNS: dict[str, Names] = {
    "plain": Names(("plain", "solid"), ("纯色", "素面")),
    "striped": Names(("striped", "broad stripes"), ("条纹", "宽条")),
    "dotted": Names(("dotted", "polka dot"), ("圆点", "波点")),
    "checked": Names(("checked", "checkerboard"), ("格子", "棋盘格")),
    "zigzag": Names(("zigzag", "chevron"), ("锯齿纹", "人字纹")),
}

MATERIALS: dict[str, Names] = {
    "ceramic": Names(("ceramic", "porcelain"), ("陶瓷", "瓷")),
    "metal": Names(("metal", "steel"), ("金属", "不锈钢")),
    "glass": Names(("glass", "crystal"), ("玻璃", "水晶")),
    "wood": Names(("wooden", "oak"), ("木质", "实木")),
    "cotton": Names(("cotton", "soft cloth"), ("棉", "纯棉")),
    "leather": Names(("leather", "hide"), ("皮革", "真皮")),
    "knit": Names(("knitted", "woollen"), ("针织", "羊毛")),
    "denim": Names(("denim", "jean fabric"), ("牛仔", "丹宁")),
}

BUILDS: dict[str, Names] = {
    "slim": Names(("slim", "tall"), ("修长", "高款")),
    "regular": Names(("classic", "regular"), ("经典", "常规")),
    "wide": Names(("wide", "short"), ("宽款", "矮款")),
}

FILLERS = Names(
    ("New arrival", "Best seller", "Free shipping", "Great gift idea", "Limited offer", "Everyday favourite"),
    ("新款", "热销", "包邮", "送礼佳品", "限时特价", "百搭"),
)

PRAISE = Names(
    (
        "Easy to match with anything.",
        "Looks good at home and at work.",
        "Carefully made and checked by hand.",
        'Customers say it is "even nicer" than in the photo.',
        "Colours may differ slightly on your screen.",
    ),
    (
        "百搭耐看，居家必备。",
        "做工精细，手工质检。",
        "顾客评价“比图片更好看”。",
        "不同显示器可能略有色差。",
        "简约设计，送人自用都合适。",
    ),
)
