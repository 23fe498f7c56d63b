from __future__ import annotations

import pytest

from mminstruct.text.refusal import refusal

REFUSALS = [
    # OpenAI
    "I'm sorry, but I can't assist with that.",
    "I'm sorry, but I can't help with that.",
    "I'm sorry, I can't help with identifying or describing people in images.",
    "As an AI language model, I cannot see images.",
    "I'm unable to provide information on that.",
    "I can't do that.",
    # Claude
    "I apologize, but I do not feel comfortable describing this person.",
    "I don't actually see an image attached to your message.",
    "I notice there's no image in our conversation yet.",
    "I won't describe it.",
    "I must respectfully decline to write this.",
    # Gemini and Gemma
    "I am programmed to be a harmless AI assistant and cannot create that.",
    "I'm just a language model, so I can't help you with that.",
    "I'm a text-based AI, and that is outside of my capabilities.",
    "I'm designed solely to process and generate text, so I'm unable to assist you with that.",
    # Llama
    "I cannot create explicit content.",
    "I can't fulfill that request.",
    "I can’t engage with this topic.",
    # Qwen, DeepSeek and others
    "Sorry, that's beyond my current scope. Let's talk about something else.",
    "很抱歉，我无法查看图片。",
    "作为一个人工智能语言模型，我没有眼睛。",
    "你好，这个问题我暂时无法回答，让我们换个话题再聊聊吧。",
    "I’m unable to view it.",
    "There is no image attached.",
    "Unfortunately, I cannot see it.",
    "I'm not able to view images.",
    "I'm sorry, I cannot identify the person.",
    "Please upload the image so that I can describe it.",
    # other languages
    "Es tut mir leid, aber ich kann dabei nicht helfen.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "Lo siento, pero no puedo ayudar con eso.",
    "Mi dispiace, ma non posso aiutarti.",
    "Desculpe, mas não posso ajudar com isso.",
    "Het spijt me, maar ik kan daar niet bij helpen.",
    "К сожалению, я не могу помочь с этим.",
    "申し訳ありませんが、その画像を見ることができません。",
    "죄송하지만 그 요청은 도와드릴 수 없습니다.",
]

TEXTS = [
    "A sorry-looking dog sits in the rain.",
    "A sign says: I'm sorry.",
    "As an airplane lands, people watch.",
    "As an AI researcher, she often walks along the pier.",
    "I can see a dog.",
    "I'm sorry for the noise last night, dear neighbours.",
    "I'm sorry I can't be there with you today, but the sea is calm.",
    "I can't believe this view! #sunset",
    "I cannot describe how happy I am: the boats are back.",
    "I can't create a better morning than this one.",
    "Sorry, we're closed! Come back tomorrow for fresh fish.",
    "Unfortunately, the boat had no sail left.",
    "I won't go out to sea until the net is whole again.",
    "No image of the sea is complete without gulls.",
    "Leider regnet es heute am Hafen.",
    "抱歉来晚了，这里的风景真美。",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_known_by_its_beginning(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize("text", TEXTS)
def test_words_of_regret_are_no_refusal(text: str) -> None:
    assert refusal(text) is None


def test_what_somebody_says_later_in_a_long_text_is_no_refusal() -> None:
    assert refusal("The tide was low, the boats were dry. " * 12 + "“I can't help with that,” he said.") is None
