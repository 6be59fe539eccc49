"""What is scrubbed: numbers as the world writes them, and what only looks like them stays."""

import pytest

from gistchat.prepare.scrub import scrub

PHONES = """+49 170 1234567|0049 170 1234567|0170/1234567|0170-1234567|(030) 123 45 67-89|01701234567|@491701234567
+1 (808) 782-1557|808.782.1557|(808)782-1557|808 782 1557|555-1234|+44 20 7946 0958|020 7946 0958|+33 6 12 34 56 78
06 12 34 56 78|06.12.34.56.78|612 345 678|+34 612 345 678|8 (912) 345-67-89|+7 912 345-67-89|98765 43210|+91 98765-43210
138 1234 5678|13812345678|(11) 98765-4321|090-1234-5678|+81 90-1234-5678|010-1234-5678|+972-50-123-4567|0612-345678
+39 333 1234567|+48 512 345 678|0 532 123 45 67|1-808-782-1557|+4917012345678|+49 (0) 170 1234567|8087821557|612345678
138 0013 8000|13800138000|０９０－１２３４－５６７８|＋81 90 1234 5678|٠١٠٠١٢٣٤٥٦٧|030 / 1234 5678|0151 / 23456789"""
KEPT = """2024-03-05 21:15:00|31.12.2023|31.12.2023 18:00|05/06/2024|1 000 000 000|1 234 567 890|100000000|1000000000
1,234,567,890|3.141592653589793|3,141592653589|from 2014-2016|2010 2014 2018 2022|4 8 15 16 23 42|123 456 7890 units
ISBN 3-16-148410-0|978-3-16-148410-0|192.168.100.200|10.0.19041.1234|1.2.3.4|$ 1234567890|10000-15000|12345-6789
v2.10.11|file.py/test|1700000000|21:13, 6:3 7:5|48.8566 2.3522|1 2 3 4 5 6 7 8 9 10|12.345.000 EUR|3:2 (1:1)
550e8400-e29b-41d4-a716-446655441234|2024-03-05T21:15:00.123456Z|52.520008, 13.404954|1.000.000.000|x/4512345678"""
CARDS = "4111 1111 1111 1111|4111111111111111|5500-0000-0000-0004|3782 822463 10005"
IBANS = (
    "DE89 3704 0044 0532 0130 00|DE89370400440532013000|GB82 WEST 1234 5698 7654 32|FR14 2004 1010 0505 0001 3M02 606"
)


def forms(text: str) -> list[str]:
    return text.replace("\n", "|").split("|")


@pytest.mark.parametrize("frame", ["{}", "Is it {}, or not?", "I am at {} now", "x: {}."])
@pytest.mark.parametrize(
    ("number", "placeholder"),
    [
        (number, name)
        for numbers, name in ((PHONES, "phone"), (CARDS, "card"), (IBANS, "iban"))
        for number in forms(numbers)
    ],
)
def test_numbers_of_people_are_replaced(frame, number, placeholder):
    assert scrub(frame.format(number)) == (frame.format(f"[{placeholder}]"), 1)


@pytest.mark.parametrize("frame", ["{}", "Is it {}, or not?", "it was {} then"])
@pytest.mark.parametrize("text", forms(KEPT))
def test_what_is_no_number_of_a_person_stays(frame, text):
    assert scrub(frame.format(text)) == (frame.format(text), 0)


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("since 2019 (808) 782-1557", "since 2019 [phone]"),
        ("030 1234567 / 0171 7654321", "[phone] / [phone]"),
        ("31.12.2023 0170 1234567", "31.12.2023 [phone]"),
        ("0170 1234567 21:15", "[phone] 21:15"),
        ("call me at 612345678", "call me at [phone]"),
        ("DE89 3704 0044 0532 0130 00 OK", "[iban] OK"),
        ("see example.de/x and run tests/a.py/b", "see [link] and run tests/a.py/b"),
    ],
)
def test_numbers_beside_others(text, scrubbed):
    assert scrub(text)[0] == scrubbed
