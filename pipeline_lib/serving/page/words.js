// The words of the page in both languages, and the functions that put them in.

const WORDS = {
  en: {
    title: "search", language: "Language", skip: "Skip to the results", query: "What to search for",
    placeholder: "red striped mug", choose: "Add a picture", go: "Search",
    hint: "Words, a picture (choose, drop or paste one), or both: the picture, changed as the words say.",
    remove: "Remove", reference: "Picture: {name}", like: "Like: {name}", pasted: "pasted picture",
    filters: "Filters and options", active: "{count} active", categories: "Category",
    duplicates: "Hide near-duplicates", compare: "Two models side by side", min_score: "Lowest score",
    k: "Number of results", clear: "Clear filters", low: "{name} from", high: "{name} to",
    missing: "{count} products have no value and do not pass a limit",
    searching: "Searching …", opening: "Loading …", explaining: "Asking the model …",
    found: "{count} results of {searched} products, {ms} ms, by {method}",
    empty: "No product passes. Use fewer words, another category, a wider range or a lower score.",
    cut: "The model read the first {count} tokens of the text, and no more.",
    start: "Type what you look for, or add a picture.",
    method_text: "text", method_picture: "picture", method_product: "product",
    method_sum: "the sum of picture and text", method_composed: "the composed model “{name}”",
    score: "score {score}", photo_of: "Photo of {name}", no_photo: "no photo", untitled: "(no text)",
    why: "Why?", open: "Details", similar: "Search like this", good: "Right result", bad: "Wrong result",
    close: "Close", photos: "Photos", neighbours: "Most similar products", duplicates_of: "Near-duplicates: {list}",
    why_title: "Why this product: score {score}", words: "Words that count",
    words_note: "How much higher the score is with the word than without it.",
    words_none: "One word is the whole query: there is nothing to leave out.",
    parts: "Similarity of the query with the photo {photo}, with the text {text}",
    map: "Where the model looks", map_pooling: "Weights of the image tower's attentive pooling.",
    map_class_token: "Attention of the class token in the last layer.",
    map_grad_cam: "Grad-CAM: what in the photo raises the similarity with the query.",
    map_empty: "Grad-CAM: no part of this photo raises the similarity with the query.",
    map_none: "This model gives no map of a photo.", map_of: "Map over the photo of {name}: brighter counts more",
    model: "Model: {name}", judged: "Saved.", judged_queries: "Judged queries", judging: "Searching {done} of {count} judged queries …",
    judged_done: "The first {top} products of {count} judged queries. Choose a query to search it.",
    judged_none: "No query has a product that was judged right. Search by words, and mark right results with the thumb.",
    judged_sum: "{share} % of the first {top} are right: {right} of {all}, {open} not judged", right_of: "{right} of {count}",
    grade_right: "judged right", grade_wrong: "judged wrong", grade_unjudged: "not judged",
    error_no_query: "Write some words, or add a picture.", error_too_large: "The picture is too large for this server.",
    error_too_many_pixels: "The picture has too many pixels. Make it smaller.",
    error_bad_picture: "This file cannot be read as a picture. Use a JPEG, PNG or WebP file.",
    error_busy: "The server is busy. Try again in a second.", error_slow: "The request took too long to arrive.",
    error_timeout: "The model took too long. Try again.", error_no_product: "The index has no such product.",
    error_bad_filter: "A filter does not fit this catalogue.", error_bad_request: "The request does not fit.",
    error_replaced: "Files were replaced by a new run since this server started. Restart it.",
    error_not_saved: "The judgement is not saved: its file cannot be written.",
    error_read_only: "Judgements are off on this server.", error_offline: "The server does not answer. Is it running?",
    error_other: "Something went wrong on the server; its log says more.",
  },
  zh: {
    title: "搜索", language: "语言", skip: "跳到结果", query: "搜索内容",
    placeholder: "红色条纹杯子", choose: "添加图片", go: "搜索",
    hint: "输入文字，或添加图片（选择、拖放或粘贴），也可以两者一起：按文字修改图片里的商品。",
    remove: "移除", reference: "图片：{name}", like: "相似于：{name}", pasted: "粘贴的图片",
    filters: "筛选与选项", active: "{count} 项生效", categories: "类别",
    duplicates: "隐藏近似重复的商品", compare: "两个模型并排比较", min_score: "最低分数",
    k: "结果数量", clear: "清除筛选", low: "{name} 最低", high: "{name} 最高",
    missing: "{count} 件商品没有此数值，设置范围后不会出现",
    searching: "正在搜索……", opening: "正在加载……", explaining: "正在询问模型……",
    found: "{searched} 件商品中找到 {count} 个结果，用时 {ms} 毫秒，方式：{method}",
    empty: "没有符合条件的商品。请减少文字、换一个类别、放宽范围或降低分数。",
    cut: "模型只读取了文字的前 {count} 个词元。",
    start: "请输入要找的商品，或添加一张图片。",
    method_text: "文字", method_picture: "图片", method_product: "商品",
    method_sum: "图片与文字之和", method_composed: "组合模型“{name}”",
    score: "分数 {score}", photo_of: "{name} 的照片", no_photo: "无照片", untitled: "（无文字）",
    why: "为什么？", open: "详情", similar: "找相似的", good: "结果正确", bad: "结果错误",
    close: "关闭", photos: "照片", neighbours: "最相似的商品", duplicates_of: "近似重复：{list}",
    why_title: "为什么是这件商品：分数 {score}", words: "起作用的词",
    words_note: "有这个词时比没有时分数高多少。",
    words_none: "查询只有一个词，没有可以去掉的词。",
    parts: "查询与照片的相似度 {photo}，与文字的相似度 {text}",
    map: "模型看哪里", map_pooling: "图像塔注意力池化的权重。",
    map_class_token: "最后一层中类别标记的注意力。",
    map_grad_cam: "Grad-CAM：照片中哪些部分提高了与查询的相似度。",
    map_empty: "Grad-CAM：这张照片中没有哪个部分提高与查询的相似度。",
    map_none: "此模型不提供照片的热图。", map_of: "{name} 照片上的热图：越亮越重要",
    model: "模型：{name}", judged: "已保存。", judged_queries: "已评价的查询", judging: "正在搜索已评价的查询：{done} / {count}……",
    judged_done: "{count} 个已评价查询的前 {top} 件商品。选择一个查询即可搜索。",
    judged_none: "还没有查询有被评为正确的商品。请用文字搜索，并用拇指标记正确的结果。",
    judged_sum: "前 {top} 件中 {share}% 正确：{all} 件中 {right} 件，{open} 件未评价", right_of: "{right} / {count}",
    grade_right: "评为正确", grade_wrong: "评为错误", grade_unjudged: "未评价",
    error_no_query: "请输入文字或添加图片。", error_too_large: "图片文件超过了服务器的限制。",
    error_too_many_pixels: "图片的像素过多，请缩小后再试。",
    error_bad_picture: "无法读取这个图片文件。请使用 JPEG、PNG 或 WebP。",
    error_busy: "服务器繁忙，请稍后再试。", error_slow: "请求传输超时。",
    error_timeout: "模型处理超时，请重试。", error_no_product: "索引中没有这件商品。",
    error_bad_filter: "筛选条件不适用于此商品目录。", error_bad_request: "请求无效。",
    error_replaced: "服务器启动后，文件已被新的运行替换。请重启服务器。",
    error_not_saved: "评价未保存：无法写入其文件。",
    error_read_only: "此服务器不记录评价。", error_offline: "服务器没有响应。它在运行吗？",
    error_other: "服务器出错，详情见其日志。",
  },
};

let language = "en";

export function t(key, values = {}) {
  const words = WORDS[language][key] ?? WORDS.en[key] ?? key;
  return words.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

export function knows(key) {
  return key in WORDS.en;
}

// `name` is how the API names what read a query.
export function methodName(name) {
  return knows(`method_${name}`) ? t(`method_${name}`) : t("method_composed", { name: name.replace("composed ", "") });
}

export function startLanguage() {
  let saved = null;
  try { saved = localStorage.getItem("language"); } catch { /* storage may be off */ }
  return saved in WORDS ? saved : navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function setLanguage(name) {
  language = name in WORDS ? name : "en";
  try { localStorage.setItem("language", language); } catch { /* storage may be off */ }
  document.documentElement.lang = language;
  document.title = `Vitrine ${t("title")}`;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-placeholder]")) node.placeholder = t(node.dataset.tPlaceholder);
  for (const node of document.querySelectorAll("[data-t-label]")) node.setAttribute("aria-label", t(node.dataset.tLabel));
}

// The language of a product's text, for its glyphs and for speech.
export function languageOf(text) {
  return /[\u3400-\u9fff]/.test(text) ? "zh" : "en";
}

export function decimal(value, digits = 3) {
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function whole(value) {
  return value.toLocaleString(language);
}
