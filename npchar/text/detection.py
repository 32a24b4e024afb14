"""Detects the encoding of a file by letter frequencies.

``text/decoding.py`` imports this module when a file is not text in the expected encoding. A
candidate is an encoding with a language. Its score is the log-probability of the decoded letters
in that language: a wrong encoding turns frequent letters into rare ones.
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections import Counter
from itertools import pairwise

SAMPLE = 8_000  # bytes from lines with non-ASCII characters
SEARCHED = 1_000_000  # bytes in which such lines are looked for
LEAD = 5.0  # nats; with a smaller lead over another reading, no encoding is named
RARE, ODD = math.log(1e-4), math.log(1e-5)  # an unlisted letter, another unlisted character
LEAST = {"alphabet": -5.0, "ideographs": -8.6}  # nats per non-ASCII character of a plausible text

# The non-ASCII letters of each language, and quotation marks where they are frequent, by decreasing
# frequency (letters as in the word lists of wordfreq)
ALPHABETS = {
    "english": "’“”—‘–…éàçñïèôüêâ",
    "german": "üäöß„“»«",
    "french": "é\u00a0àèêçôîùâûœëï",
    "spanish": "óíáéñúü",
    "italian": "èàùòéì",
    "portuguese": "ãéçáíêóúõàâô",
    "swedish": "äåö",
    "danish": "åæø»«é",
    "icelandic": "ðíáþóæöúéý",
    "dutch": "‘’“”éëïèóüöçàê",
    "catalan": "óàèéíòçúïü·",
    "polish": "łężąóśćńź",
    "czech": "íáěžřéčšýůúňď",
    "slovak": "ážčýíšéúťľôďňóä",
    "hungarian": "éáöóőüíúű",
    "croatian": "ščžćđ",
    "romanian": "ăşîţâ",
    "turkish": "ıüşçğöİâ",
    "lithuanian": "ėųšžąįūčę",
    "latvian": "āīēšūņļžķģč",
    "estonian": "äõüöšž",
    "vietnamese": "\u0323ê\u0301\u0309ưô\u0300đàơâá\u0303ăóíúù",
    "russian": "оеаитнсрвлкдмпуяыьгбзчйжхшюцэщфё",
    "ukrainian": "оаніивтерскудлмпзябьгйчцхжїюшщєф",
    "bulgarian": "аоеитнсврдклмпзяъгбчущжйцхшюф",
    "serbian": "аоеинтсдрвкмлпугјзбшчцжќфњљћђхѓ",
    "greek": "ατοσιενρπκμηυλίάόέγδωήχθύφώβξζψ",
    "hebrew": "יוהלאתרבמשענםדכחקפסןגזצטךףץ",
    "arabic": "اليمنورتعبدةفهكسأقحجىصشطخذإضثزغءئظآؤ",
    "persian": "ایرندهومبتسکشلزفخگعقجحپآچطصيضغظذثئكژ",
    "thai": "านรอกเงมยลวดทส่ต้ปบคหะิีแัขจพใชุไูำโถณึศธผซ์ื็ภญษฟฉๆ",
}
# The most frequent characters of other scripts, and the share of a text that they make up
IDEOGRAPHS = {
    "japanese": (
        "のいてなにたでしるとはがかっをすもらうんれまーだこりあくよンさそけきスやどおトえ人イわちル日ねッめつラ"
        "リクアじせみゃろ大本見出一タば分時ドレ事中言ロ思年行間カシプ気マジメフ生自コ方会",
        0.85,
    ),
    "korean": (
        "이다는에하고가을지의로서은아한어도기사니있를나해리시그요인들자일게대라으스수만보제면정주전부여거과장했"
        "상안마구었데오야내원우신적것성국되세위와무할동생소트드모미진문중말화공까러비습간없",
        0.6,
    ),
    "simplified": (
        "的是一在不了有人我国这为中个们他大会和年来以上要到时对么你能就可发也地生说家于出后与成学过行用日自现多"
        "都没作下得还开经动法好方而公事分吗看民政主月子之里本所新天最其同业定全进部如那当",
        0.45,
    ),
    "traditional": (
        "的是不我一有大在人了中到資要以可這個你會好為上來學就交也用能如時文說沒他看那問生提下過請天們所多麼小"
        "想得之還電出工對都機自後子而訊站去心只家知國台很信成章何同道地發法無然但嗎當於",
        0.45,
    ),
}
SYMBOLS = "’“”–\u00a0«»—‘…„°·•§©€£¿¡№"  # a tenth of the non-ASCII characters, as are
MARKS = "。、，「」『』（）！？：；・…　《》“”～"  # these in texts of ideographs

WEST = "english german french spanish italian portuguese swedish danish icelandic dutch catalan"
EAST = "polish czech slovak hungarian croatian romanian"
BALTIC = "lithuanian latvian estonian"
CYRILLIC = "russian ukrainian bulgarian serbian"
LATIN = {*WEST.split(), *EAST.split(), *BALTIC.split(), "turkish", "vietnamese"}
# Encodings, their languages, and a penalty in nats for rare encodings
CANDIDATES = (
    ("cp1252", WEST, 0), ("cp1250", EAST, 0), ("iso8859-2", EAST, 0.5), ("cp1251", CYRILLIC, 0),
    ("koi8-r", "russian", 1), ("koi8-u", "ukrainian", 1), ("cp866", CYRILLIC, 1),
    ("iso8859-5", CYRILLIC, 1), ("mac-cyrillic", CYRILLIC, 2), ("cp1253", "greek", 0),
    ("iso8859-7", "greek", 0.5), ("cp1255", "hebrew", 0), ("iso8859-8", "hebrew", 1),
    ("cp1256", "arabic persian", 0), ("iso8859-6", "arabic", 1), ("cp874", "thai", 0),
    ("cp1254", "turkish", 0), ("cp1257", BALTIC, 0), ("cp1258", "vietnamese", 0),
    ("shift_jis", "japanese", 0), ("cp932", "japanese", 0.1), ("euc-jp", "japanese", 0),
    ("cp949", "korean", 0), ("gb18030", "simplified", 0), ("big5", "traditional", 0),
    ("cp950", "traditional", 0.1), ("big5hkscs", "traditional", 0.2), ("mac-roman", WEST, 5),
    ("cp850", WEST, 5), ("cp852", EAST, 5),
)  # fmt: skip


def detect_encoding(data: bytes, start: int = 0) -> str | None:
    """The most probable encoding of bytes; None if no candidate is clearly the best.

    Parameters
    ----------
    data
        Bytes that are not UTF-8.
    start
        The offset of the first non-ASCII byte of interest.
    """
    sample = _sample(data, start)
    scores = []
    for encoding, languages, penalty in CANDIDATES:
        text = sample.decode(encoding, "replace")
        counts = Counter(c for c in text if not c.isascii())
        for language in languages.split():
            scores.append((_log_probability(counts, text, language) - penalty, encoding, text))
    best, _, text = max(scores)
    rival = max((score for score, _, other in scores if other != text), default=-math.inf)
    if best == -math.inf or best - rival < LEAD:
        return None
    return next(one for score, one, same in scores if same == text and best - score < LEAD)


def is_plausible(text: str) -> bool:
    """Whether a text is printable and its non-ASCII letters fit some language."""
    counts = Counter(c for c in text if not c.isascii() and c.isalpha())
    odd = sum(not (c.isprintable() or c.isspace()) for c in text)
    return odd <= 0.02 * len(text) and (
        not counts or any(_log_probability(counts, text, one) > -math.inf for one in _models())
    )


def _sample(data: bytes, start: int) -> bytes:
    """The lines with non-ASCII bytes from offset `start` on, up to `SAMPLE` bytes."""
    begin = max(data.rfind(b"\n", 0, start) + 1, start - 100)
    lines = data[begin : begin + SEARCHED].split(b"\n")
    return b"\n".join(one for one in lines if not one.isascii())[:SAMPLE]


def _log_probability(counts: Counter[str], text: str, language: str) -> float:
    """The log-probability of a text's non-ASCII characters; -inf for an implausible text."""
    model = _models()[language]
    n = sum(counts.values())
    score = sum(k * model.get(c, RARE if c.isalpha() else ODD) for c, k in counts.items())
    if score <= n * LEAST["ideographs" if language in IDEOGRAPHS else "alphabet"]:
        return -math.inf
    if language not in LATIN:  # "café" in another alphabet is "cafй"
        letters = [unicodedata.category(c)[0] in "LM" for c in text]
        mixed = sum(a.isascii() != b.isascii() and all(both)
                    for (a, b), both in zip(pairwise(text), pairwise(letters)))  # fmt: skip
        if mixed > 0.3 * n:
            return -math.inf
    return score


@functools.cache
def _models() -> dict[str, dict[str, float]]:
    """For each language, the log-probabilities of its listed characters, by Zipf's law."""
    models = {}
    for language, letters in ALPHABETS.items():
        p = _zipf(letters, 0.86, 2)
        capitals = {c.upper(): 0.05 * p[c] for c in reversed(letters)}
        models[language] = _zipf(SYMBOLS, 0.1, 2) | capitals | p
    for language, (characters, share) in IDEOGRAPHS.items():
        models[language] = _zipf(MARKS, 0.1, 2) | _zipf(characters, share, 8)
    return {name: {c: math.log(x) for c, x in p.items()} for name, p in models.items()}


def _zipf(characters: str, share: float, shift: int) -> dict[str, float]:
    """Probabilities inversely proportional to the rank, which sum to `share`."""
    weights = [1 / (shift + rank) for rank in range(len(characters))]
    return {c: share * w / sum(weights) for c, w in zip(characters, weights)}
