"""Every kind of personal data is found, in English and Chinese, and what only looks like it is not."""

import random
import time

import polars as pl
import pytest

from hydata.curation.files import ROWS
from hydata.curation.privacy import ALONE, JUDGE, judge_rows, run
from hydata.privacy import (
    KINDS,
    FindSettings,
    PrivacySettings,
    find,
    masked,
    masked_frame,
    masked_messages,
    restored,
)
from hydata.privacy.banking import luhn, mod97
from hydata.privacy.documents import checks
from hydata.schema import Conversation, Message, ToolCall, conversations_frame
from hydata.synthesis.failures import find_failure

ALL = PrivacySettings()


def kinds(text: str) -> list[tuple[str, str]]:
    return [(text[start:end], kind) for start, end, kind in find(text, ALL)]


FOUND = [
    ("Write to o'neil+x@mail.example.co.uk.", "o'neil+x@mail.example.co.uk", "email"),
    ("邮箱baiyaning@163.com或", "baiyaning@163.com", "email"),
    ("邮箱：ｂai＠163.com", "ｂai＠163.com", "email"),
    ("mail jo.doe [at] example [dot] org", "jo.doe [at] example [dot] org", "email"),
    ("Call +27 61 222 4762 today", "+27 61 222 4762", "phone"),
    ("ring (415) 555-2671 ext. 12", "(415) 555-2671 ext. 12", "phone"),
    ("by phone at 0473 969 757.", "0473 969 757", "phone"),
    ("手机13945671234联系", "13945671234", "phone"),
    ("电话：０１０－６２３４５６７８", "０１０－６２３４５６７８", "phone"),
    ("拨打400-820-8820", "400-820-8820", "phone"),
    ("from 84.17.46.53 port", "84.17.46.53", "ip"),
    ("服务器地址是2001:db8:85a3::8a2e:370:7334。", "2001:db8:85a3::8a2e:370:7334", "ip"),
    ("Here's my SSN: 536-22-8726", "536-22-8726", "id_card"),
    ("She holds an ID card number 116726199508279319 and", "116726199508279319", "id_card"),
    ("编号11010519491231002X的人", "11010519491231002X", "id_card"),
    ("身份证号码为230103198008273620。", "230103198008273620", "id_card"),
    ("pay with 4012 8888 8888 1881 please", "4012 8888 8888 1881", "bank_card"),
    ("card no 4477006998104", "4477006998104", "bank_card"),
    ("卡号：6222021005678912345", "6222021005678912345", "bank_card"),
    ("my iban is gb82west12345698765432", "gb82west12345698765432", "iban"),
    ("账户DE89 3704 0044 0532 0130 00。", "DE89 3704 0044 0532 0130 00", "iban"),
    ("my passport number is X1234567.", "X1234567", "passport"),
    ("护照号E12345678", "E12345678", "passport"),
    ("My passport no. is C03005988", "C03005988", "passport"),
    ("Passport No. E12345678", "E12345678", "passport"),
    ("license plate AB12 CDE was", "AB12 CDE", "plate"),
    ("车牌京A12345停在", "京A12345", "plate"),
    ("新能源车沪AD12345", "沪AD12345", "plate"),
    ("lives at 1309 Southwest 71st Terrace.", "1309 Southwest 71st Terrace", "address"),
    ("to 228 W 10th St, New York, NY 10014", "228 W 10th St, New York, NY 10014", "address"),
    ("P.O. Box 1234", "P.O. Box 1234", "address"),
    ("现居住于黑龙江省哈尔滨市南岗区中山路123号，", "黑龙江省哈尔滨市南岗区中山路123号", "address"),
    ("住在文三路138号3栋2单元501室。", "文三路138号3栋2单元501室", "address"),
    ("use AKIAIOSFODNN7EXAMPLE now", "AKIAIOSFODNN7EXAMPLE", "key"),
    ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "key"),
    ('api_key = "d41d8cd98f00b204"', "d41d8cd98f00b204", "key"),
    ("密码：Zt9x7Qw2，", "Zt9x7Qw2", "key"),
    (
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "key",
    ),
    ("阿里云LTAI5tAbCdEfGhIjKlMnOpQr", "LTAI5tAbCdEfGhIjKlMnOpQr", "key"),
    (
        "bot 110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
        "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
        "key",
    ),
    ("postgres://admin:s3cret!@db.example.com/x", "admin:s3cret!", "key"),
    (
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "key",
    ),
]


@pytest.mark.parametrize(("text", "value", "kind"), FOUND)
def test_found(text: str, value: str, kind: str) -> None:
    assert kinds(text) == [(value, kind)]
    assert kinds("😀 " + text) == [(value, kind)]  # characters, not bytes or UTF-16


@pytest.mark.parametrize(
    "text",
    [
        "pi is 3.14159265358979 and e 2.718281828459045",
        "version 1.2.3.4, section 4.3.2.1, Chrome/120.0.0.0",
        "from 127.0.0.1 to 0.0.0.0, mask 255.255.255.0",
        "std::vector<int> a::b x[1::2] at 12:30:45",
        "He paid $1,234,567.89 and 13,900,000,000 in 2020-01-02",
        "2000/1000=<<2000/1000=2>>2 and 1 2 3 4 5 6 7 8 9",
        "a bare 116726199508279319 is no card; nor is 6222021005678912345678",
        "ISBN 978-7-302-51196-8, 9787302511968; at 1609459200 or 1609459200000",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "git@github.com:org/repo.git lodash@4.17.21 @app.route icon@2x.png",
        "token = get_token() password = os.environ['X'] api_key = your_api_key",
        "api_key = example-key-1, password: my_example_2",
        "the tokens are 12345 and the secret is out, password: hunter",
        "5月1号，3号线，第一中学，这三街",
        "Susie has 11 Rhode Island Reds; 12 Angry Men; the 1983 Pan American Games",
        "她在2020年买了13个苹果，共1234567元，人口14亿。",
        "[EMAIL_1] wrote to [PHONE_2] about [ID_CARD_3]",
    ],
)
def test_not_found(text: str) -> None:
    assert kinds(text) == []


def test_compiled_code_takes_every_text_with_a_value_for_a_candidate() -> None:
    texts = pl.DataFrame({"text": [text for text, _, _ in FOUND]})
    assert texts.filter(~ALL.candidates(pl.col("text")))["text"].to_list() == []
    clean = pl.DataFrame({"text": ["The lake is deep and cold.", "湖水又深又冷。", "", None]})
    assert clean.select(ALL.candidates(pl.col("text")).fill_null(False)).to_series().sum() == 0


def test_a_number_that_is_masked_is_none_that_an_evolution_lost() -> None:
    parent = "Write a message to the baker at 13812345678 about the price of 12 rye loaves for the party."
    (shown,) = masked([parent], ALL)
    harder = shown.replace("party.", "party, in four lines of verse.")
    assert find_failure(shown, harder) is None
    assert find_failure(parent, harder).reason == "lost_numbers"


def test_a_word_that_is_cut_within_reach_says_nothing() -> None:
    for cut in range(40, 52):
        assert kinds(f"x.comSSN {'V' * cut};1152777465988095") == []
    assert kinds(f"x.com SSN {'V' * 20};1152777465988095") == [("1152777465988095", "id_card")]


def test_check_digits() -> None:
    assert checks("11010519491231002X")
    assert not checks("110105194912310021")
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")
    assert mod97("GB82WEST12345698765432")
    assert not mod97("GB82WEST12345698765433")


def test_a_private_key_is_one_place() -> None:
    begin, end = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
    block = f"{begin}\nProc-Type: 4,ENCRYPTED\n\nMIIBOgIBAAJB\n{end}"
    assert kinds(f"key:\n{block}\nend") == [(block, "key")]


def test_a_value_has_one_placeholder_in_a_record() -> None:
    texts = ["Mail a.b@x.org or c@x.org.", "电话13812345678，邮箱A.B@x.org", "Call +1 415 555 2671"]
    assert masked(texts, ALL) == [
        "Mail [EMAIL_1] or [EMAIL_2].",
        "电话[PHONE_1]，邮箱[EMAIL_1]",
        "Call [PHONE_2]",
    ]


def test_a_new_value_takes_no_number_that_stands_before_it() -> None:
    assert masked(["[EMAIL_1] met new@x.org"], ALL) == ["[EMAIL_1] met [EMAIL_2]"]
    # the question as it was asked, the answer to what was shown of it: they fit
    assert masked(["I am me@x.org", "Hello [EMAIL_1]!"], ALL) == ["I am [EMAIL_1]", "Hello [EMAIL_1]!"]


def test_kinds_and_names_are_chosen() -> None:
    text = "me@x.org, 84.17.46.53"
    assert masked([text], PrivacySettings(kinds=("ip",))) == ["me@x.org, [IP_1]"]
    assert masked([text], PrivacySettings(anonymise=False)) == [text]
    assert masked([text], PrivacySettings(kinds=())) == [text]


def test_names_where_they_are_asked_for() -> None:
    pytest.importorskip("rjieba")
    settings = PrivacySettings(names=True)
    assert masked(["Dear Anna Smith, ask Dr. Brown."], settings) == ["Dear [NAME_1], ask Dr. [NAME_2]."]
    assert masked(["张雪梅是医生。"], settings) == ["[NAME_1]是医生。"]
    assert masked(["张雪梅是医生。Dear Anna Smith"], ALL) == ["张雪梅是医生。Dear Anna Smith"]


def test_places_in_a_masked_text_are_found_in_the_text() -> None:
    text = "Ann (ann@x.org) lives. Bob (+1 415 555 2671) sings."
    places = find(text, ALL)
    (shown,) = masked([text], ALL)
    for said, original in (
        ("lives", "lives"),
        ("Bob ([PHONE_1]) sings", "Bob (+1 415 555 2671) sings"),
        ("[EMAIL_1]", "ann@x.org"),
        ("sings.", "sings."),
        ("Ann", "Ann"),
    ):
        start = shown.index(said)
        first, last = restored(places, shown, start, start + len(said))
        assert text[first:last] == original


def test_arguments_of_tools_stay_json() -> None:
    call = ToolCall("dial", '{"number": 13812345678, "to": "a@x.org"}')
    (message,) = masked_messages((Message("assistant", "", tool_calls=(call,)),), ALL)
    assert message.tool_calls[0].arguments == '{"number": "[PHONE_1]", "to": "[EMAIL_1]"}'
    clean = (Message("user", "Hello"),)
    assert masked_messages(clean, ALL) is clean


def test_rows_are_masked_one_by_one() -> None:
    turns = [[{"content": "I am a@x.org"}, {"content": None}], [{"content": "no"}], [{"content": "b@x.org"}]]
    frame = pl.DataFrame({"id": [1, 2, 3], "prompt": turns, "chosen": [[{"content": "a@x.org"}], [], None]})
    made = masked_frame(frame, ["prompt", "chosen"], ALL)
    assert made["id"].to_list() == [1, 2, 3]
    assert made["prompt"].to_list() == [
        [{"content": "I am [EMAIL_1]"}, {"content": None}],
        [{"content": "no"}],
        [{"content": "[EMAIL_1]"}],
    ]
    assert made["chosen"].to_list() == [[{"content": "[EMAIL_1]"}], [], None]


def test_the_judge_on_files_keeps_rows_and_offsets() -> None:
    rows = pl.DataFrame({"text": ["😀 a@x.org a@x.org", None, "nothing", "电话13812345678"]})
    found = judge_rows(pl.concat([pl.DataFrame(schema=ROWS), rows], how="diagonal"), FindSettings())
    assert found.schema == ALONE.columns
    assert found["total"].to_list() == [2, None, 0, 1]
    assert found["email"].to_list() == [2, None, 0, 0]
    assert found["anonymized"].to_list() == ["😀 [EMAIL_1] [EMAIL_1]", None, "nothing", "电话[PHONE_1]"]
    assert found["spans"][0].to_list()[0] == {"kind": "email", "start": 2, "end": 9}


async def judged(*conversations: Conversation) -> pl.DataFrame:
    return (await run(conversations_frame(conversations), FindSettings(), None)).rows  # type: ignore[arg-type]


def test_the_judge_of_records_says_where() -> None:
    import asyncio

    call = ToolCall("mail", '{"to": "b@x.org"}')
    said = Conversation(
        "dataset",
        (
            Message("user", "Hi, I am a@x.org"),
            Message("assistant", "ok", reasoning="84.17.46.53", tool_calls=(call,)),
        ),
    )
    clean = Conversation("dataset", (Message("user", "Hello"),))
    rows = asyncio.run(judged(said, clean))
    assert rows["judge"].unique().to_list() == [JUDGE]
    assert rows.select("total", "email", "ip", "key").rows() == [(3, 2, 1, 0), (0, 0, 0, 0)]
    assert rows["spans"][0].to_list() == [
        {"message": 0, "field": "content", "kind": "email", "start": 9, "end": 16},
        {"message": 1, "field": "arguments/0", "kind": "email", "start": 8, "end": 15},
        {"message": 1, "field": "reasoning", "kind": "ip", "start": 0, "end": 11},
    ]
    assert rows["spans"][1].to_list() == []


BITS = [value for _, value, _ in FOUND] + [
    *(
        "call ",
        "电话",
        "card ",
        "身份证号",
        "key=",
        "token: ",
        "passport ",
        "plate ",
        "SSN ",
        "Bearer ",
        "://u:p4ss@",
    ),
    *(
        "[EMAIL_1]",
        "[PHONE_2]",
        "[ADDRESS_1]",
        "[",
        "]",
        "(",
        ")",
        "-",
        ". ",
        "。",
        "\n",
        " ",
        ",",
        "at",
        "1",
        "22",
    ),
    *("😀", "\ud800", "\x00", "é", "İ", "＠", "１２３", "路12号", "北京市", " Apt 4", ", New York 10001"),
]


def test_fuzzed_texts_have_places_in_bounds_and_are_masked_once() -> None:
    draw = random.Random(7)
    for _ in range(4000):
        text = "".join(
            draw.choice(BITS) if draw.random() < 0.9 else chr(draw.randrange(0x110000))
            for _ in range(draw.randrange(1, 20))
        )
        last = 0
        for start, end, kind in find(text, ALL):
            assert last <= start < end <= len(text)
            assert kind in KINDS
            last = end
        once = masked([text], ALL)
        assert masked(once, ALL) == once, text


HOSTILE = (
    *(
        "1234567890",
        "@",
        "a@",
        "a@a.",
        "1 ",
        "1.1.",
        "::",
        "ab:",
        "key=",
        "pwd=",
        "api_key=",
        "pwd=1",
        "token=1xxx",
        "-----BEGIN PRIVATE KEY-----",
        "eyJ",
    ),
    *(
        "12 Aa ",
        "路1号",
        "call 1234567 ",
        "4111111111111111 ",
        "4112 ",
        "+14155552671 ",
        "(1",
        "http://a:b",
        "[EMAIL_1]",
        "DE89 ",
        "a",
        "'a",
    ),
)


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_texts_take_time_in_proportion(unit: str) -> None:
    def seconds(length: int) -> float:
        text = (unit * (length // len(unit) + 1))[:length]
        started = time.process_time()
        find(text, ALL)
        return time.process_time() - started

    short = max(min(seconds(20_000) for _ in range(2)), 0.005)
    assert seconds(160_000) < 8 * short * 5


@pytest.mark.parametrize(
    "key",
    [
        *(f"{prefix}Q3EXAMPLE7ZK4M9T" for prefix in ("AKIA", "ASIA", "AROA", "AIDA", "ABIA", "ACCA")),
        "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE",
        *(f"{prefix}-a1B2c3D4e5F6g7H8i9J0" for prefix in ("glpat", "gldt", "glrt", "glcbt", "glptt")),
    ],
)
def test_a_key_alone_is_found_by_its_prefix(key: str) -> None:
    assert [text[f.start : f.end] for text in (f"See {key} there.",) for f in find(text, FindSettings())] == [
        key
    ]


def test_any_dash_may_group_a_number() -> None:
    for dash in "-‐\u2011\u2012–":
        text = f"Call +44 20{dash}7946{dash}0958 now."
        assert [f.kind for f in find(text, FindSettings())] == ["phone"], hex(ord(dash))


def test_letters_that_grow_in_lower_case_shift_nothing() -> None:
    text = "İİİİ password: Zt9x7Qw2LmP4 end"
    (found,) = find(text, FindSettings())
    assert text[found.start : found.end] == "Zt9x7Qw2LmP4"


CARDS = (
    *("4111111111111111", "5555555555554444", "378282246310005", "30569309025904", "6011111111111117"),
    *("3530111333300000", "4012888888881881", "5105105105105100", "371449635398431", "38520000023237"),
    *("6200000000000005", "2223003122003222"),
)


def _in_fours(number: str) -> str:
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4))


@pytest.mark.parametrize("count", [12, 40])
def test_of_cards_in_a_row_none_is_left(count: int) -> None:
    assert masked(["4111111111111111 " * count], ALL) == ["[BANK_CARD_1] " * count]
    assert masked(["4111-1111-1111-1111-" * count], ALL) == ["[BANK_CARD_1]-" * count]


def test_of_many_cards_each_is_found() -> None:
    names = [f"[BANK_CARD_{number + 1}]" for number in range(len(CARDS))]
    for between in (" ", "\u00a0", "-", "\n", ","):
        assert masked([between.join(CARDS)], ALL) == [between.join(names)]
    assert masked([" ".join(map(_in_fours, CARDS))], ALL) == [" ".join(names)]


@pytest.mark.parametrize("card", [*CARDS, "4111 1111 1111 1111", "3782 822463 10005", "3056 930902 5904"])
@pytest.mark.parametrize("after", [" 12/27", " 12/27 123", " 42", "-1", " 12-27", " 7 8 9 10", ",12,123"])
def test_what_stands_behind_a_card_hides_no_card(card: str, after: str) -> None:
    assert kinds(f"paid: {card}{after}")[0] == (card, "bank_card")
    # By chance the number before it makes a card of another issuer with it.
    assert card in kinds(f"42 {card}{after}")[0][0]


def test_rows_of_sums_are_no_cards() -> None:
    assert kinds("# 9 18 27 36 45 54 63 72 81 90") == []
    assert kinds("[12 24 36 48 60 72 84 96 108 120]\n472547338\n+960397912423686\n-------") == []


def test_of_telephone_numbers_in_a_row_none_is_left() -> None:
    for between in (" ", "\n"):
        assert masked([f"+1 415 555 2671{between}" * 60], ALL) == [f"[PHONE_1]{between}" * 60]


def test_a_text_whose_values_hide_each_other_is_a_place_as_a_whole() -> None:
    token = "SG." + "a1" * 32 + "." + "b2" * 64
    assert masked([token * 12], ALL) == ["[KEY_1]" * 12]
    assert masked([token * 60 + " end"], ALL) == ["[KEY_1]"]


def test_a_long_secret_is_found_to_its_end() -> None:
    secret = "a1b2c3d4" * 200
    assert kinds(f"token={secret}, and so on") == [(secret, "key")]
    assert kinds(f"pwd=tokens pwd={secret}.") == [(secret, "key")]
    assert kinds("password: use_pwd: h7nter2 token=call1me() pwd=xxxpwd=h7nter2x") == [
        ("h7nter2", "key"),
        ("h7nter2x", "key"),
    ]


@pytest.mark.parametrize("gap", [" ", "\u00a0", "-", "\u2010", "\u2011", "\u2012", "\u2013"])
def test_any_space_or_dash_may_group_a_value(gap: str) -> None:
    for value, kind in (
        (f"4111{gap}1111{gap}1111{gap}1111", "bank_card"),
        (f"138{gap}1234{gap}5678", "phone"),
        (f"(212){gap}555{gap}1234", "phone"),
        (f"400{gap}820{gap}8820", "phone"),
    ):
        assert kinds(f"x {value} y") == [(value, kind)]
    if not gap.isspace():
        assert kinds(f"010{gap}62345678") == [(f"010{gap}62345678", "phone")]
    assert kinds("+4930/123456") == [("+4930/123456", "phone")]


def test_what_a_reader_takes_for_plain_ascii_hides_nothing() -> None:
    for value, kind in (
        ("john．doe＠b．com", "email"),
        ("138－1234－5678", "phone"),
        ("4111\u00ad1111\u200b1111\u20601111", "bank_card"),
        ("jo\u200bhn@b\u00ad.com", "email"),
        ("1\ufeff3812345678", "phone"),
    ):
        text = f"😀 {value} 中\u200b文"
        assert kinds(text) == [(value, kind)]
        assert pl.select(ALL.candidates(pl.lit(pl.Series([text])))).to_series().all()
        assert masked([masked([text], ALL)[0]], ALL) == masked([text], ALL)
    assert kinds("password＝hunter2x9") == [("hunter2x9", "key")]


def test_a_letter_of_full_width_or_a_hidden_sign_hides_no_plain_value() -> None:
    assert kinds("电话13812345678，5个Ａ") == [("13812345678", "phone")]
    assert kinds("13812345678\u200b99") == [("13812345678", "phone")]
    assert kinds("👩\u200d👩 met") == []


def test_of_passports_behind_one_word_all_within_reach_are_found() -> None:
    found = find("passport: " + ",".join(f"A12345{number}" for number in range(10, 50)) + " end", ALL)
    assert 15 < len(found) < 30
    assert masked(["cards 1234567890123, 1234567890124 and 1234567890125"], ALL) == [
        "cards [BANK_CARD_1], [BANK_CARD_2] and [BANK_CARD_3]"
    ]
