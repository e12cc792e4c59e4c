"""Questions and answers as people post them: what of a post is the request, what of a reply the answer.

``clean_question`` leaves out what is addressed to the forum instead of belonging to the request: greetings,
thanks, signatures, later edits, remains of HTML. It never rewords: what is kept stands in the post in this
order, so a question of several parts keeps them all. Code is not touched.

``trim_answer`` only moves the two ends of an answer, past a greeting and good wishes, so that what is left is
still one stretch of the document. ``find_answer_defect`` says why a reply cannot serve as a reference.
"""

from __future__ import annotations

import html
import re
from itertools import pairwise

from hydata.synthesis.text import Defect, tokens

_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`)", re.DOTALL)
_FENCE = re.compile(r"(```.*?(?:```|\Z))", re.DOTALL)
_BREAK_TAG = re.compile(r"<(?:br|/p|/div|/li)\s*/?>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:a|b|i|u|p|em|br|li|ul|ol|hr|div|span|font|strong|img|h[1-6]|pre|code|blockquote|sub|sup|table|tr|td)"
    r"(?:\s[^<>]{0,300})?/?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:[a-z]{2,8}|#\d{1,6}|#x[0-9a-f]{1,5});", re.IGNORECASE)

_ADDRESSED = (
    r"(?:all|everyone|everybody|there|guys|folks|friends|sir|madam|doctor|experts?|forum|community|again)"
)
_GREETING = re.compile(
    rf"\A\s*(?:hi|hello|hey|greetings|dear|good (?:morning|evening|afternoon|day))(?: {_ADDRESSED}){{0,2}}"
    r"\s*(?:[,!.:]+|(?=\n)|\Z)\s*"
    r"|\A\s*(?:各位|尊敬的)?(?:医生|大夫|老师|专家|朋友们?)?[,，]?(?:(?:你好|嗨|哈喽|大家好|早上好|晚上好|下午好)[,，!！。.:：~\s]+"
    r"|(?:你好|大家好)\Z|您好[,，!！。.:：~\s]*|(?:尊敬的|各位)(?:医生|大夫|老师|专家|朋友们?)[,，!！:：\s]+)",
    re.IGNORECASE,
)
_THANKS = re.compile(
    r"(?:(?:many |lots of )?thanks|thank you|thx|tia|ty)"
    r"(?: (?:so|very) much| a (?:lot|bunch|million)| again)?(?: in advance)?(?: (?:for|to) [^.!?\n]{0,80})?"
    r"|(?:any|all|your) (?:\w+ ){0,2}"
    r"(?:help|advice|input|suggestions?|tips|insights?|thoughts|ideas|comments)"
    r"(?: (?:is|are|will be|would be)(?: (?:greatly|much|highly|very))?)?"
    r" (?:appreciated|welcome|wonderful|great)(?: [^.!?\n]{0,40})?"
    r"|(?:please help|help me please|i hope (?:someone|you) can help[^.!?\n]{0,40})"
    r"|(?:sorry (?:for|about) my (?:bad |poor )?english[^.!?\n]{0,40})",
    re.IGNORECASE,
)
_THANKS_ZH = re.compile(
    r"(?:(?:求|跪求|麻烦|请|希望|望|恳请|还望)?(?:各位|大家)?(?:医生|大夫|专家|老师|高手|好心人|您|你|你们)*"
    r"(?:给)?(?:予)?(?:我|您)?(?:指导|解答|帮忙|帮助|告之|告诉|告知|指点|赐教|回答|帮帮我|帮我)?"
    r"(?:一下|下|我|您|解答)*[之的了吧]?[,，]?)?"
    r"(?:非常|十分|万分|先|在此|不胜)?(?:谢谢|感谢|多谢|拜谢|感激|谢了|急急急*|在线等)"
    r"(?:大家|各位|医生|大夫|专家|老师|您|你|不尽|万分|啦|了|解答|帮助|！|!|~)*"
    r"|(?:请|麻烦|求|望)(?:各位)?(?:医生|大夫|专家|老师|高手|您)?(?:帮忙|给予?)?(?:指导|解答|告诉|指点|回答|帮助)"
    r"(?:一下|下)?(?:您|我)?"
)
_CLOSING = re.compile(
    r"\A(?:cheers|(?:best|kind|warm)(?: regards| wishes)?|regards|sincerely|yours|thanks"
    r"|thank you|此致|敬礼)[,.!\s]*\Z",
    re.IGNORECASE,
)
_EDIT = re.compile(
    r"\A\W{0,4}(?:edit(?:ed)?|update[ds]?|addendum|p\.?s\.?)\s*(?:#?\d+|\([^)\n]{0,40}\))?\s*\W{0,3}[:：\-–—]"
    r"|\A\W{0,4}(?:补充|更新|编辑|追问|问题补充|后记)\s*[:：]",
    re.IGNORECASE,
)
_PIECE = re.compile(r"(?<=[.!?])[ \t]+|(?<=[。！？；])|\n")
_CLAUSE_ZH = re.compile(r"(?<=[，,。！？!?；;])")
_EDGES = " \t\n,，。.!！~～:：;；、)-"


def clean_question(text: str) -> str:
    """The request of a post, without what is said around it."""
    pieces = _CODE.split(text)
    pieces[::2] = [_unmarked(piece) for piece in pieces[::2]]
    parts = _FENCE.split("".join(pieces))
    parts[::2] = [_request(part) for part in parts[::2]]
    parts[-1] = _without_signature(parts[-1])
    return re.sub(r"\n{3,}```", "\n\n```", "".join(parts)).strip()


def _request(prose: str) -> str:
    """What stands between two blocks of code, with the line breaks at its ends."""
    kept = []
    for paragraph in re.split(r"\n[ \t]*\n", prose.strip()):
        if not _EDIT.match(paragraph) and (said := _without_courtesy(paragraph)):
            kept.append(said)
    bare = prose.strip()
    if not bare or not kept:
        return "\n\n" if prose else ""
    start = prose.index(bare)
    return prose[:start] + "\n\n".join(kept) + prose[start + len(bare) :]


def _unmarked(text: str) -> str:
    if _TAG.search(text) or _ENTITY.search(text):
        text = html.unescape(_TAG.sub("", _BREAK_TAG.sub("\n", text)))
    return text


def _without_courtesy(paragraph: str) -> str:
    paragraph = _GREETING.sub("", paragraph, count=1)
    lines = []
    for line in paragraph.split("\n"):
        kept: list[str] = []
        for sentence in _split(_PIECE, line):
            clauses = _split(_CLAUSE_ZH, sentence) if re.search("[\u4e00-\u9fff]", sentence) else [sentence]
            said = [
                clause for clause in map(_greeted, clauses) if clause.strip(_EDGES) and not _thanks(clause)
            ]
            kept.append("".join(said))
        line = "".join(kept).rstrip()
        if line:
            lines.append(re.sub(r"[，、]\Z", "。", line))
    return "\n".join(lines)


def _greeted(clause: str) -> str:
    # 您好 stands in the middle of Chinese posts as well; 你好 may be what the question is about.
    return re.sub(r"\A(?:医生|大夫)?您好", "", clause)


def _thanks(piece: str) -> bool:
    bare = piece.strip(_EDGES)
    return _THANKS.fullmatch(bare) is not None or _THANKS_ZH.fullmatch(bare) is not None


def _split(pattern: re.Pattern[str], text: str) -> list[str]:
    """The pieces of ``text`` with what separates them at their ends."""
    ends = [0, *(found.end() for found in pattern.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(ends) if a < b]


def _without_signature(prose: str) -> str:
    """Without a closing word and the name below it, at the very end."""
    lines = prose.rstrip().split("\n")
    for back in (1, 2, 3):
        said, below = lines[:-back], lines[len(lines) - back + 1 :]
        closes = said and _CLOSING.match(lines[-back].strip())
        if closes and all(len(tokens(line)) <= 3 for line in below):
            return "\n".join(said)
    return prose


_GREETED = re.compile(
    r"(?:hi|hello|hey|welcome(?: to [^.!\n]{0,40})?)(?: [\w.'-]{1,20}){0,2}\s*[,!.]+\s+"
    r"|(?:你好|您好)(?:呀|啊)?[,，!！。:：~\s]*"
    r"|(?:很高兴(?:能)?(?:为|回答)[^，。,！]{0,12}|感谢(?:您|你)[^，。,！]{0,14}(?:咨询|提问|信任))[,，!！。.\s]+",
    re.IGNORECASE,
)
_WISHED = re.compile(
    r"(?:(?<=[.!?\n])|(?<=\n))\s*(?:(?:i )?hope (?:this|that|it|these)[^.!?\n]{0,80}|good luck[^.!?\n]{0,60}"
    r"|cheers|enjoy|happy \w+ing|let me know [^.!?\n]{0,80}|best (?:regards|wishes)|regards)[.!:;) ]*\Z"
    r"|(?:(?<=[。！？，,.!?；\n])|(?<=[\u4e00-\u9fff]))\s*(?:"
    r"(?:以上[^，。！？]{0,16}[，,]?)?(?:衷心)?(?:希望|期望|但愿|愿)[^，。！？,]{0,12}"
    r"(?:解释|回答|解答|答复|建议|内容|答案|上述|对)[^，。！？,]{0,20}(?:帮助|协助|帮到|有用|参考)[^，。！？,]{0,6}"
    r"|以上[^，。！？,]{0,6}(?:仅供|可以做为|可作为|供)[^，。！？,]{0,6}参考"
    r"|(?:最后)?(?:祝|愿)(?:您|你|患者|大家|早日|身体|生活)[^，。！？]{0,16}(?:[，,][^，。！？]{0,10}(?:健康|康复|愉快))?"
    r"|(?:感谢|谢谢)(?:您|你|大家)?(?:的)?(?:进行)?[^，。！？,]{0,10}"
    r")[。！!.~，,\s]*\Z",
    re.IGNORECASE,
)
_TAIL = 240
"""Characters at an answer's end in which wishes are looked for; a longer wish is none."""


def trim_answer(text: str, start: int) -> tuple[int, int]:
    """The answer in ``text[start:]`` as ``[start, end)`` without greeting, wishes and outer white space."""
    end = len(text)
    while True:
        before = start, end
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        if greeting := _GREETED.match(text, start, end):
            start = greeting.end()
        tail = max(start, end - _TAIL)
        if (wish := _WISHED.search(text[tail:end])) and tail + wish.start() > start:
            end = tail + wish.start()
            while end > start and text[end - 1] in "，,；;":
                end -= 1
        if (start, end) == before:
            return start, end


_URL = re.compile(r"https?://\S+|www\.\S+")
_LINK_WORDS = re.compile(
    r"\A\W*(?:(?:please )?(?:see|read|try|check|check out|have a look at|look at|here|this|link|source|via|"
    r"maybe|also|or|and|the|it|out|article|page|site|video|answer|参见|见|看|链接|请看|参考|网址|地址)\W*)*\Z",
    re.IGNORECASE,
)
_DUPLICATE = re.compile(
    r"\b(?:possible )?duplicate of\b|\bthis question (?:already has|has already been|was already)"
    r"|\bhas been (?:asked|answered) (?:before|already|here|elsewhere)"
    r"|\b(?:already|previously) (?:asked|answered) (?:here|on|at)"
    r"|重复(?:的)?(?:问题|提问)|(?:此|该|这个)?问题已(?:经)?(?:被)?(?:问过|回答过)",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"\b(?:the|as|my|your|his|her|in|see|with|this|these|other|another|previous|accepted|\w+['’]s) "
    r"(?:(?:other|previous|accepted|above|first|second|top) )?(?:answers?|comments?)"
    r" (?:above|below|says?|said|mentions?|mentioned|covers?|covered|is (?:right|correct|good|great))\b"
    r"|\b(?:other|previous|accepted|existing|above) (?:answers?|answerers?|commenters?|posters?|comments?)\b"
    r"|\b(?:in|to|from) (?:the|your|my|his|her) comments?\b|(?<!\w)@\w{2,}"
    r"|\b(?:as|like) (?:\w+ ){1,2}(?:said|mentioned|pointed out|noted|suggested)\b"
    r"|楼上|(?:其他|上面|前面)(?:的)?(?:回答|答案|答主)|评论区",
    re.IGNORECASE,
)
_EMPTY_WORDS = re.compile(
    r"\W*(?:\+1|same here|me too|bump|up|idk|i don'?t know|no idea|not sure|good question"
    r"|n/?a|none|null|tbd|ok(?:ay)?"
    r"|same (?:question|problem)|解决了|同问|不知道|顶|沙发|无|暂无|没有回答|不清楚|谢邀)\W*",
    re.IGNORECASE,
)
_POINTER = re.compile(
    r"\b(?:available (?:from|at|on|here|via)|(?:can|may) be found (?:at|on|in|here)|"
    r"(?:please )?(?:see|visit|refer"
    r" to|consult|check) (?:the|our|this|for)\b|(?:more|further) (?:information|details))"
    r"|(?:请|可)(?:参见|参阅|访问|查看|见)",
    re.IGNORECASE,
)
_POINTED = 160
"""Characters of an answer up to which pointing at another page is all it does."""
_NOTICE = 400
"""Characters of an answer up to which a notice of a duplicate is all it says."""


def find_answer_defect(answer: str, question: str) -> Defect | None:
    """Why a reply cannot stand as the reference answer, or None."""
    if not tokens(answer):
        return Defect("no_answer", answer)
    if _EMPTY_WORDS.fullmatch(answer):
        return Defect("empty_answer", answer)
    if _URL.search(answer) and _LINK_WORDS.match(_URL.sub(" ", answer)):
        return Defect("only_link", answer)
    if len(answer) < _POINTED and _POINTER.search(answer):
        return Defect("points_elsewhere", answer)
    if len(answer) < _NOTICE and _DUPLICATE.search(answer):
        return Defect("duplicate_notice", answer)
    if found := _ELSEWHERE.search(_CODE.sub(" ", answer)):
        return Defect("refers_to_other_answers", f"{found[0]!r} in: {answer}")
    if tokens(answer) == tokens(question):
        return Defect("repeats_question", answer)
    if re.search(r"[?？]\W*\Z", answer) and len(_split(re.compile(r"[.!?。！？]+"), answer)) == 1:
        return Defect("asks_back", answer)
    return None


_CONTEXT = re.compile(
    r"\b(?:this|that|the following) (?:list|guide|form|section)\b"
    r"|\A\W*(?:what|how) about\b|\A\W*what else\b"
    r"|\A\W*(?:where|how) (?:can|do|could) (?:i|we|one|people) (?:find out|find|learn|get|read|know)"
    r" (?:out )?(?:more|further|additional)(?: \w+)?\W*\Z"
    r"|(?:本|该)(?:清单|列表|网站|平台|表格)|\A(?:那么?|还有|其他)[^，。？]{0,6}呢",
    re.IGNORECASE,
)
_LOST_PICTURE = re.compile(
    r"\b(?:like this|as follows|shown here|the following(?: \w+){1,3})\s*:?[ \t]*"
    r"(?:\n[ \t]*\n(?![-*>`\d\"“|])|\Z)",
    re.IGNORECASE,
)


def find_question_defect(question: str) -> Defect | None:
    """What a question of a page or forum lacks without its surroundings, beyond ``find_defect``: the page's
    own topic, or a picture, which left nothing in the text but "looks like this:"."""
    if found := _CONTEXT.search(question):
        return Defect("needs_context", f"{found[0]!r} in: {question}")
    if found := _LOST_PICTURE.search(question):
        return Defect("missing_media", f"{found[0].strip()!r} in: {question}")
    return None


_PERSON = re.compile(
    r"\A\W*(?:do|did|have|would|will|don'?t|aren'?t) you\b|\b(?:are|were) you\b"
    r"|\b(?:what|who|where|when|why|which \w+) (?:do|did|have|would|will) you\b(?! (?:call|get|need|use)\b)"
    r"|\byour (?!own\b)\w+|\byou(?:'re| are| have| should| will| can'?t| cannot)\b"
    r"|\bhow(?:'s| is| are) (?:it going|things|life|your?)\b|\bwhat'?s up\b"
    r"|[你您](?!好)|最近(?:如何|怎么样|怎样|好吗|还好)",
    re.IGNORECASE,
)
_FIRST_PERSON = re.compile(r"\b(?:I|I'[a-z]+|[Mm]e|[Mm]y|[Mm]ine)\b|(?<!自)我(?![们国院校])")
_SHORT = {"en": 9, "zh": 14}


def is_personal(question: str, answer: str, language: str) -> bool:
    """Whether a short question is about whoever answers ("do you drink"), or is answered by them about
    themselves ("what makes one sad", "I am software"): such a reply is theirs alone."""
    if len(tokens(question)) > _SHORT[language]:
        return False
    return bool(_PERSON.search(question) or _FIRST_PERSON.search(_CODE.sub(" ", answer)))
