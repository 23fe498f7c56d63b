"""Detects refusals, and replies that say there is no image, in the wordings of many models and several languages."""

# ruff: noqa: E501 - patterns are easier to read on one line
from __future__ import annotations

import re

_PICTURE = r"(?:images?|pictures?|photos?|photographs?|attachments?|visuals?)"
_CANNOT = r"(?:can(?:no|['’])t|can not|(?:am |['’]m |['’]m just |am just )?(?:unable|not able|not allowed|not permitted|not (?:programmed|designed|equipped)) to|won['’]t(?: be able to)?|will not(?: be able to)?|must (?:respectfully )?decline to|have to decline to|do(?:n['’]t| not) (?:feel comfortable|have the ability to)|['’]m not comfortable|am not comfortable|refuse to)"
_ADVERB = r"(?: (?:really|actually|directly|currently|physically|in good conscience|\w+ly))?"
_DO = (
    r"(?:(?:access|accommodate|assist\w*|comply\w*|discuss\w*|engage (?:in|with)|fulfil\w*|generat\w+|participat\w+|process\w*|provid\w+|respond to)\b|help (?:you|with)\b"
    r"|(?:analy[sz]\w+|answer\w*|complet\w+|creat\w+|describ\w+|follow\w*|identif\w+|interpret\w*|look at|open\w*|produc\w+|recogni[sz]\w+|see|view\w*|writ\w+)(?: or \w+)?"
    rf" (?:(?:(?:this|that|the|your|such|any|an?) )?(?:\w+ )?(?:{_PICTURE}|request|question|task|instruction|kind|content|person|people|individuals?|faces?|anyone|topic)\b|(?:that|this|it|them|any|people|who)(?:[.,!]|\Z))"
    r"|do (?:that|this|so)[.!]?\Z)"
)
_SORRY = r"(?:(?:i['’]?m|i am) (?:so |very |really |deeply |truly )*(?:sorry|afraid)|sorry|(?:my )?apologies|i apologi[sz]e|unfortunately|regrettably|i regret)"
_AT_ONCE = re.compile(
    r"\A[\W_]*(?:"
    rf"{_SORRY}\b[^.!?\n]{{0,80}}?\b(?:i(?: |['’]m ?)?{_CANNOT}{_ADVERB} {_DO}|no {_PICTURE}|(?:not|n['’]t) (?:see|have|identify)\b[^.!?\n]{{0,40}}(?:{_PICTURE}|\babilit|\benough\b|\baccess|\bpeople\b)|(?:beyond|outside) (?:of )?my|against my)"
    rf"|{_SORRY},? (?:but )?(?:i|we) (?:can['’]t|cannot)(?:[.!]|\Z)"
    rf"|(?:as an? [^.!?\n,]{{0,40}}, ?)?i(?: |['’]m ?)?{_CANNOT}{_ADVERB} {_DO}"
    r"|i(?:['’]m| am) (?:just |only |merely )?(?:an? )?(?:ai|language model|large language model|text-based|text-only|programmed to|designed (?:solely )?to|trained to)\b[^.!?\n]{0,120}\b(?:cannot|can['’]t|unable|not able|not capable|can only|do(?:n['’]t| not) have|outside)\b"
    rf"|(?:there is|there['’]s|i (?:actually )?(?:do not|don['’]t)(?: actually)? (?:see|have)|i notice (?:that )?there(?:['’]s| is)) (?:no|not an|an|any) {_PICTURE}"
    rf"|no {_PICTURE} (?:was|were|has|have|is)(?: been)? (?:provided|attached|uploaded|included|shared|given|visible|available)"
    rf"|(?:please|could you(?: please)?) (?:provide|upload|share|attach)(?: me with)? (?:the|an?|your|more) (?:{_PICTURE}|descriptions?|details|context|information)\b"
    r"|that['’]s (?:beyond|outside) my (?:current )?scope|sorry,? that['’]s (?:beyond|outside)"
    r"|i (?:must|have to) (?:respectfully )?decline\b|i(?:['’]d| would) (?:prefer|rather) not (?:to )?(?:answer|respond|describe|write|create|provide|discuss)"
    r"|(?:this|your|the) (?:request|prompt|image|content|question) (?:may |might |appears to |seems to )?(?:violates?|goes against|contains? (?:inappropriate|explicit|sensitive))"
    r"|(?:很|非常)?(?:抱歉|对不起|不好意思|遺憾)[^。！？\n]{0,30}(?:无法|無法|不能|没有办法|不可以)|作为(?:一个|一名)?(?:人工智能|AI|ai|语言模型)|我(?:无法|不能)(?:查看|看到|提供|回答|协助|帮助|识别|描述)|[^。！？\n]{0,12}这个问题我(?:暂时)?无法回答"
    r"|(?:es tut mir leid|tut mir leid|leider|entschuldigung)\b[^.!?\n]{0,60}\bkann (?:ich|das|nicht)\b|(?:es tut mir leid|tut mir leid)\b[^.!?\n]{0,40}\bich kann\b|als (?:ki|sprachmodell)\b"
    r"|(?:je suis (?:vraiment )?désolée?|désolée?)\b[^.!?\n]{0,60}\bne (?:peux|suis) pas\b|en tant qu['’]?(?:e modèle|ia|assistant)"
    r"|(?:lo siento|disculpa|lamento)\b[^.!?\n]{0,60}\bno (?:puedo|es posible|tengo)\b|como (?:modelo de lenguaje|una? ia|un asistente)"
    r"|(?:mi dispiace|spiacente)\b[^.!?\n]{0,60}\bnon (?:posso|sono)\b|(?:desculpe?|sinto muito|lamento)\b[^.!?\n]{0,60}\bnão (?:posso|consigo)\b|(?:het spijt me|sorry)\b[^.!?\n]{0,60}\bkan ik? ?(?:\w+ )?niet\b|het spijt me\b[^.!?\n]{0,60}\bik kan\b"
    r"|(?:извините|простите|к сожалению)[^.!?\n]{0,60}\bне (?:могу|имею)\b|как (?:языковая модель|ии)\b|申し訳(?:ありません|ございません)[^。\n]{0,60}(?:できません|できかねます|見ることが)|죄송(?:합니다|하지만)[^.\n]{0,60}(?:없습니다|어렵습니다)"
    r")", re.IGNORECASE,
)  # fmt: skip
AS_A_MODEL = re.compile(
    r"\bas an? (?:AI|artificial intelligence)(?: (?:language )?(?:model|assistant|chatbot|system))?(?=[,.;:]| I\b| my\b|$)"
    r"|\bas an? (?:(?:large )?language model|LLM|text-based (?:AI|model|assistant))\b",
    re.IGNORECASE,
)
"""A model that mentions itself: not a refusal, but not a description of an image either."""
_EARLY = re.compile(
    "|".join((
        r"\bI apologi[sz]e,? (?:but|for (?:the|any) (?:confusion|inconvenience|misunderstanding))",
        rf"\bI(?: |['’]m ?)?{_CANNOT}{_ADVERB} {_DO}",
        rf"\b(?:I (?:do not|don['’]t)|without) (?:have )?(?:the ability|(?:direct )?access|being able) to (?:see|view|access|the) ?(?:the |this |any )?{_PICTURE}",
        rf"\bno {_PICTURE} (?:was|were|is|has been|have been) (?:provided|attached|uploaded|included|shared|given)",
        rf"\b(?:please|could you) (?:provide|upload|share|attach)(?: me with)? (?:the|an?|your|more) (?:{_PICTURE}|descriptions?|details|context|information)\b",
        r"\b(?:goes against|violates?) (?:my|our|the|openai['’]s) (?:\w+ )?(?:guidelines|polic(?:y|ies)|programming)",
        r"\b(?:against|outside|beyond) (?:of )?my (?:guidelines|programming|capabilities)",
        r"\bharmless AI assistant\b",
    )), re.IGNORECASE,
)  # fmt: skip


def refusal(text: str) -> str | None:
    """The refusal in *text*, at most 80 characters; None if there is none.

    A refusal is at the start or is the whole text; further on, it is usually quoted speech.
    """
    found = _AT_ONCE.match(text) or _EARLY.search(text if len(text) < 400 else text[:200])
    return None if found is None else " ".join(found.group().split())[:80]
