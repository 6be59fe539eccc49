"""Words of many languages beside a time of twelve hours, which say whether it is before or after noon."""

import re
from datetime import time

_EVENINGS = (
    "pm μμ م 下午 午後 오후 中午 傍晚 ch chiều tối ös nm em du odp ip ptg ptng md epasdites pasdites пп сл слоб"
    " popoldne pop poslijepodne popiet pēcp вечера дня мп поподне попладне غم بعدازظهر بعدالظهر مساء مساءً בערב אחהצ"
    " অপরাহ্ণ मउ अपराह्न பிற்பகல் ಅಪರಾಹ್ನ หลังเที่ยง บ่าย ຫຼັງທ່ຽງ ညနေ ល្ងាច ከሰዓት noon दोपहर शाम দুপুর বিকাল সন্ধ্যা दुपार संध्याकाळ"
    " intheafternoon intheevening delatarde in yh nachm nachmittags بظ بعددوپہر شام"
)
_MORNINGS = (
    "am πμ ص 上午 午前 오전 凌晨 早上 清晨 sa sáng öö vm fm de dop ap pg pd eparadites paradites пр проб дп преди"
    " утра преподне претпладне قظ قبلازظهر صباحًا קם לפנהצ পূর্বাহ্ণ मपू पूर्वाह्न முற்பகல் ಪೂರ್ವಾಹ್ನ ก่อนเที่ยง"
    " ກ່ອນທ່ຽງ နံနက် ព្រឹក ጥዋት priešpiet priekšp prijepodne midnight inthemorning सुबह ভোর সকাল सकाळ delamañana rn yb"
    " vorm vormittags قبلدوپہر صبح"
)
_NIGHTS = "atnight 晚上 半夜 delanoche ночи रात রাত रात्र இரவு రాత్రి رات"  # from nine to six
EVENING, MORNING, _NIGHT = (frozenset(words.split()) for words in (_EVENINGS, _MORNINGS, _NIGHTS))
KNOWN = EVENING | MORNING | _NIGHT
_DECORATION = re.compile(r"[.\s'’\"״׳\u200e\u200f]")


def bare(word: str) -> str:
    """A word as the lists have it: without dots, spaces and marks, in small letters."""
    return _DECORATION.sub("", word).lower()


def means_noon(word: str) -> bool:
    """Whether a word beside a time says that it is before or after noon."""
    return bare(word) in KNOWN


def of_24_hours(
    clock: time, words: tuple[str, ...], evenings: frozenset[str] = EVENING, mornings: frozenset[str] = MORNING
) -> time:
    """A time as a clock of 24 hours has it, by the words beside it."""
    beside = {bare(word) for word in words}
    if clock.hour > 12 or not beside & (KNOWN | evenings | mornings):
        return clock
    is_late = bool(beside & evenings) or (bool(beside & _NIGHT) and clock.hour % 12 > 5)
    return clock.replace(hour=clock.hour % 12 + 12 * is_late)
