"""The categories for pretraining, which the shop does not sell: their names and materials."""

from shop.goods import HARD, SOFT, Goods
from shop.words import Names

OTHER_GOODS: dict[str, Goods] = {
    "plate": Goods(Names(("plate", "serving plate"), ("盘子", "餐盘")), HARD, 1),
    "candle": Goods(Names(("candle", "candlelight"), ("蜡烛", "烛台")), HARD, 1),
    "gift box": Goods(Names(("gift box", "present"), ("礼盒", "礼物盒")), (*HARD, *SOFT), 1),
    "book": Goods(Names(("book", "notebook"), ("书本", "笔记本")), SOFT, 1),
    "kite": Goods(Names(("kite", "flying kite"), ("风筝", "纸鸢")), SOFT, 1),
    "fan": Goods(Names(("fan", "folding fan"), ("扇子", "折扇")), (*SOFT, "wood"), 1),
    "ball": Goods(Names(("ball", "play ball"), ("球", "皮球")), (*HARD, *SOFT), 1),
    "sock": Goods(Names(("sock", "stocking"), ("袜子", "长袜")), SOFT, 1),
    "mitten": Goods(Names(("mitten", "glove"), ("手套", "连指手套")), SOFT, 1),
    "tie": Goods(Names(("tie", "necktie"), ("领带", "领结")), SOFT, 1),
    "dress": Goods(Names(("dress", "gown"), ("连衣裙", "礼服")), SOFT, 1),
    "basket": Goods(Names(("basket", "picnic basket"), ("篮子", "野餐篮")), (*HARD, *SOFT), 1),
    "drum": Goods(Names(("drum", "snare drum"), ("鼓", "小鼓")), HARD, 1),
    "suitcase": Goods(Names(("suitcase", "trolley"), ("行李箱", "拉杆箱")), (*SOFT, "metal"), 1),
    "tent": Goods(Names(("tent", "camping tent"), ("帐篷", "露营帐")), SOFT, 1),
    "boat": Goods(Names(("boat", "toy sailboat"), ("帆船", "小船")), (*HARD, *SOFT), 1),
    "car": Goods(Names(("car", "toy car"), ("汽车", "玩具车")), HARD, 1),
    "balloon": Goods(Names(("balloon", "party balloon"), ("气球", "派对气球")), (*HARD, *SOFT), 1),
    "bell": Goods(Names(("bell", "hand bell"), ("铃铛", "摇铃")), HARD, 1),
    "flower pot": Goods(Names(("flower pot", "planter"), ("花盆", "盆栽")), HARD, 1),
}
