"""Any chat model as a judge by prompt: GPT-4, ChatGPT and Claude by endpoint; LLaMA-2-chat, Vicuna, WizardLM here.

It is the ordinary judge over the ordinary backends, asked in the protocol's words, with one difference: its verdict
is read leniently, since it was never taught to write one. Conversations are wrapped by the tokenizer's own template
(or the server's) unless one is written out here: the markers of LLaMA-2-chat, and of Vicuna 1.1 and later with
WizardLM 13B and later, without those models' system sentences. Whoever wants those gives a protocol with its chat.
"""

from __future__ import annotations

from typing import Literal

from rewards.protocol.spec import ChatFormat, ChatText, JudgeProtocol

ChatName = Literal["tokenizer", "llama-2", "vicuna", "wizardlm"]

_CHATS: dict[ChatName, ChatFormat] = {
    "llama-2": ChatText(before="[INST] ", after=" [/INST]"),
    "vicuna": ChatText(before="USER: ", after=" ASSISTANT:"),
    "wizardlm": ChatText(before="USER: ", after=" ASSISTANT:"),
}


def with_chat(protocol: JudgeProtocol, chat: ChatName) -> JudgeProtocol:
    """The protocol with a written-out conversation around its questions; "tokenizer" leaves the protocol's own."""
    return protocol if chat == "tokenizer" else protocol.model_copy(update={"chat": _CHATS[chat]})
