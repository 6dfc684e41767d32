"""Texts that are clearly none of the 58 scenarios, to see whether a classifier notices. All are our own.

Three kinds: random characters; the same few everyday sentences in other languages (the scenarios are AUTO-J's, whose
data is English); and what machines write (logs, traces, dumps). They are easy cases on purpose. A prompt in English
that fits no scenario is harder, and mostly goes to the catch-all `others`, which is one of the 58; `mixed_words` makes
English without meaning, which nothing that counts words can be expected to notice.
"""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Sequence
from typing import Final

_LANGUAGES: Final = (
    "Gestern Abend hat es so stark geregnet, dass der Keller voll Wasser lief.",
    "Könntest du mir bitte erklären, warum der Zug heute ausfällt?",
    "Hier soir, nous avons marché le long du fleuve jusqu'à la nuit tombée.",
    "Peux-tu me dire combien coûte un billet pour les enfants ?",
    "Ayer por la tarde mi hermana perdió las llaves en el mercado.",
    "¿Me puedes ayudar a arreglar la bicicleta de mi abuelo?",
    "Ieri sera abbiamo cenato tardi perché il forno non funzionava.",
    "Mi spieghi come si prepara il pane in casa?",
    "Ontem o barco chegou atrasado por causa do nevoeiro.",
    "Podes escrever uma carta para o meu vizinho?",
    "Gisteren stond de brug de hele ochtend open voor de schepen.",
    "Kun je mij uitleggen hoe deze wasmachine werkt?",
    "Wczoraj wieczorem zgasło światło w całej dzielnicy.",
    "Czy możesz mi powiedzieć, o której odjeżdża autobus?",
    "Dün akşam komşumuz bahçedeki elmaları topladı.",
    "Bana bu makinenin nasıl çalıştığını anlatır mısın?",
    "I går kväll snöade det så mycket att bussen stod stilla.",
    "Eilen illalla järvi oli aivan tyyni ja kuu paistoi.",
    "Včera večer jsme zapomněli zavřít okno v kuchyni.",
    "Tegnap este a szomszéd kutyája végig ugatott.",
    "Aseară am găsit o pisică mică lângă poartă.",
    "Kemarin sore anak-anak bermain layang-layang di sawah.",
    "Tối qua trời mưa to nên chúng tôi ở nhà nấu ăn.",
    "Jana jioni watoto walicheza mpira karibu na mto.",
    "Вчера вечером мы долго искали ключи от дачи.",
    "Объясни, пожалуйста, как починить этот старый приёмник.",
    "Χθες το βράδυ φύσηξε δυνατός αέρας στο λιμάνι.",
    "أمس مساءً مشينا طويلاً على شاطئ البحر.",
    "אתמול בערב ירד גשם חזק וכל הרחוב הוצף.",
    "कल शाम हम सब नदी के किनारे टहलने गए थे।",
    "昨天晚上我们在河边散步，看见了很多萤火虫。",
    "请告诉我怎么修理这辆旧自行车。",
    "昨日の夜、駅前の本屋で古い地図を見つけました。",
    "この機械の使い方を教えてください。",
    "어제저녁에 동생과 함께 강가를 걸었습니다.",
    "เมื่อวานตอนเย็นฝนตกหนักจนถนนน้ำท่วม",
)
_MACHINES: Final = ("gateway", "shard-07", "kubelet", "nginx", "sshd", "cron", "db-replica", "eth0")
_EVENTS: Final = (
    "conn reset by peer fd={a} rtt={b}ms",
    "GET /v2/{h}/blobs HTTP/1.1 {s} {a} {b}",
    "oom_kill pid={a} rss={b}kB cgroup=/sys/fs/{h}",
    "segfault at {h} ip {h2} sp {h} error {s} in libc.so.6",
    "checkpoint complete: wrote {a} buffers ({b}%); sync={a} ms; lsn={h}",
    "frame #{s}: 0x{h} libfoo.dylib`bar::baz(int) + {b}",
)


def outside_texts(*, count: int = 60, seed: int = 0) -> dict[str, tuple[str, ...]]:
    """Texts outside the scenarios by kind: `count` of random characters and of logs, and one a sentence of ours."""
    draw = random.Random(seed)  # noqa: S311 - texts to test with, no secret
    return {
        "random characters": tuple(_noise(draw) for _ in range(count)),
        "other languages": _LANGUAGES,
        "machine logs": tuple(_log(draw) for _ in range(count)),
    }


def _noise(draw: random.Random) -> str:
    letters = string.ascii_letters + string.digits + string.punctuation + "   "
    return "".join(draw.choice(letters) for _ in range(draw.randint(20, 200)))


def _log(draw: random.Random) -> str:
    if draw.random() < 0.2:
        return base64.b64encode(draw.randbytes(draw.randint(60, 150))).decode()
    return "\n".join(_line(draw) for _ in range(draw.randint(3, 10)))


def _line(draw: random.Random) -> str:
    values = {
        "a": str(draw.randint(100, 99999)),
        "b": str(draw.randint(1, 999)),
        "s": str(draw.choice((4, 6, 14, 200, 404, 503))),
        "h": f"{draw.getrandbits(48):012x}",
        "h2": f"{draw.getrandbits(48):012x}",
    }
    day = f"2024-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"
    stamp = f"{day}T{draw.randint(0, 23):02d}:{draw.randint(0, 59):02d}Z"
    level = draw.choice(("INFO", "WARN", "ERROR", "DEBUG"))
    return f"{stamp} {draw.choice(_MACHINES)}[{values['a']}] {level} {draw.choice(_EVENTS).format(**values)}"


def mixed_words(texts: Sequence[str], *, count: int = 60, seed: int = 0) -> tuple[str, ...]:
    """Texts of 8 to 40 words drawn from all the given texts: English words, and no request."""
    draw = random.Random(seed)  # noqa: S311 - texts to test with, no secret
    words = [word for text in texts for word in text.split()]
    return tuple(" ".join(draw.choices(words, k=draw.randint(8, 40))) for _ in range(count)) if words else ()
