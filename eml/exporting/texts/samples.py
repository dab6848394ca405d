"""The texts that an exported text tower is compared on: the names of the model's classes, and awkward ones."""

from eml.inference.model import Model

AWKWARD = (
    "",
    " ",
    "a",
    "a photo of a cat.",
    "  A Photo  of\ta\nRED Mug,  size XL ",
    "CamelCase and ALL CAPS and iPhone15Pro",
    "snake_case_name__with___underscores",
    "kebab-case-name; (brackets) [and] {braces} <tags> \"quotes\" 'single' `back #1 @two %3 ^4 *5 +6 =7 ~8 |9 \\10",
    "it's you're we've I'm they'll she'd DON'T O'Brien's rock'n'roll",
    "“curly” quotes, ‘single’ ones, an ellipsis… and a dash — or – two",
    "1234567890 3.14159 1,000,000 50% 20€ $5 ½ ² Ⅷ №7",
    "café naïve jalapeño Zürich Łódź Ångström smørrebrød",
    "cafe\u0301 with an accent of its own",
    "cafÃ© that was decoded wrongly, and donâ€™t too",
    "ﬁne ligatures and ｆｕｌｌ　ｗｉｄｔｈ",
    "İstanbul, ẞ, ß, ſ, ΟΔΥΣΣΕΥΣ, Ǆ",
    "&lt;b&gt;caf&eacute;&lt;/b&gt; &amp;amp; &quot;tea&quot; &#39;x&#39; &nbsp;",
    "🐈 a cat 😀👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇨🇭",
    "红色的杯子，放在桌子上。",
    "赤いマグカップの写真",
    "빨간 머그컵 사진",
    "красная кружка на столе",
    "كوب أحمر على الطاولة",
    "लाल मग की तस्वीर",
    "รูปถ่ายของแก้วสีแดง",
    "zero\u200bwidth soft\u00adhyphen byte\ufeffmark",
    "tab\tline\nreturn\rfeed\x0cescape\x1bend",
    "pneumonoultramicroscopicsilicovolcanoconiosis" * 3,
    "a very long text that is cut off, " * 60,
    "字" * 600,
    "!?" * 300,
)
MOST_LABELS = 200
"""Class names that are embedded by both; all of them are tokenized by both."""


def labels_of(model: Model) -> list[str]:
    """Return the names of the classes that a model was trained on, sorted; none where they are unknown."""
    return sorted(model.trained_on.classes) if model.trained_on is not None else []


def spread_labels(labels: list[str], count: int = MOST_LABELS) -> list[str]:
    """Return at most `count` labels, spread evenly."""
    if len(labels) <= count:
        return labels
    return [labels[place * len(labels) // count] for place in range(count)]
