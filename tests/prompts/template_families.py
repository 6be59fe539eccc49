"""Chat templates that do what those of well-known model families do, and what stands around their messages."""

import json
import string
from dataclasses import dataclass
from functools import cache

from conftest import make_dialogue
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.wording import GIST_HEADER, PREAMBLE

BY_TURNS = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)
# The system message apart, as many begin.
APART = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}"
    "{% else %}{% set turns = messages %}{% endif %}"
)
ROLE_MODEL = "{% set role = 'model' if m.role == 'assistant' else m.role %}"


def chatml(begin: str = "", content: str = "{{ m.content }}", ask: str = "") -> str:
    return (
        begin + "{% for m in messages %}<|im_start|>{{ m.role }}\n" + content + "<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n" + ask + "{% endif %}"
    )


NO_THOUGHT = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
OPEN_UNLESS_OFF = (
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A template, and what is known of its family.

    Attributes:
        tokens: that stand beside the vocabulary; those that begin with "-" are not special, as some thought marks.
        eos: what the tokenizer calls its end token.
        listed: the names that the list in generation_config.json has; where there is none, empty.
        end: what ends a message, which is learned.
        stops: everything that a reply ends at, the first learned.
        begins: how a prompt begins that has a gist and begins with the user's turn; {} is where the opening stands.
        asks: what stands after the last turn.
        begins_own: the same where the window begins with the model's turn.
        sentencepiece: how its tokenizer reads the beginning of a text: "always", "first" or "never" with a space; ""
            for byte-level ones.
    """

    template: str
    tokens: tuple[str, ...]
    eos: str
    end: str
    begins: str
    asks: str
    begins_own: str = ""
    listed: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    sentencepiece: str = ""


GEMMA_TOKENS = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "-\n\n", "-   ")
LLAMA_3_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
)
PHI_TOKENS = ("<s>", "-</s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")
QWEN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "-<think>", "-</think>", "-<tool_call>")
R1_TOKENS = (
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "-<｜User｜>",
    "-<｜Assistant｜>",
    "-<think>",
    "-</think>",
)
LLAMA_2 = (
    APART + "{% for m in turns %}" + BY_TURNS + "{% if loop.first and system is defined %}"
    "{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + m.content %}"
    "{% else %}{% set content = m.content %}{% endif %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
HEADED = (
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)

FAMILIES = {
    "Gemma 1 and 2": Family(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for m in messages %}" + BY_TURNS + ROLE_MODEL + "{{ '<start_of_turn>' + role + '\\n' + "
        "m.content | trim + '<end_of_turn>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
        GEMMA_TOKENS,
        "<eos>",
        "<end_of_turn>",
        "<bos><start_of_turn>user\n{}\n\n",
        "<end_of_turn>\n<start_of_turn>model\n",
        "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
        stops=("<end_of_turn>", "<eos>", "<bos>", "<start_of_turn>"),
        sentencepiece="never",
    ),
    "Gemma 3": Family(
        "{{ bos_token }}" + APART + "{% for m in turns %}" + BY_TURNS + ROLE_MODEL + "{{ '<start_of_turn>' + role + "
        "'\\n' + (system + '\\n\\n' if loop.first and system is defined else '') }}{% if m.content is string %}"
        "{{ m.content | trim }}{% else %}{% for part in m.content %}{{ part.text | trim }}{% endfor %}{% endif %}"
        "{{ '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
        GEMMA_TOKENS,
        "<eos>",
        "<end_of_turn>",
        "<bos><start_of_turn>user\n{}\n\n",
        "<end_of_turn>\n<start_of_turn>model\n",
        "<bos><start_of_turn>user\n{}\n\n<end_of_turn>\n<start_of_turn>model\n",
        listed=("<eos>", "<end_of_turn>"),
        stops=("<end_of_turn>", "<eos>", "<bos>", "<start_of_turn>"),
        sentencepiece="never",
    ),
    "Gemma 4": Family(
        "{{ bos_token }}{% if (enable_thinking is defined and enable_thinking) or messages[0].role == 'system' %}"
        "{{ '<|turn>system\\n' }}{% if enable_thinking is defined and enable_thinking %}{{ '<|think|>' }}{% endif %}"
        "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set turns = messages[1:] %}{% endif %}"
        "{{ '<turn|>\\n' }}{% endif %}{% for m in turns | default(messages) %}" + ROLE_MODEL + "{{ '<|turn>' + role + "
        "'\\n' + m.content.split('<channel|>')[-1] | trim + '<turn|>\\n' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|turn>model\\n' }}{% if not enable_thinking | default(false) %}{{ '<|channel>thought\\n<channel|>' }}"
        "{% endif %}{% endif %}",
        ("<bos>", "<eos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>", "<|tool_response>", "-\n\n"),
        "<eos>",
        "<turn|>",
        "<bos><|turn>system\n{}<turn|>\n<|turn>user\n",
        "<turn|>\n<|turn>model\n<|channel>thought\n<channel|>",
        "<bos><|turn>system\n{}<turn|>\n<|turn>model\n",
        listed=("<eos>", "<turn|>", "<|tool_response>"),
        stops=("<turn|>", "<eos>", "<|tool_response>", "<bos>", "<|turn>"),
        sentencepiece="never",
    ),
    "Mistral Instruct v0.1": Family(
        "{{ bos_token }}{% for m in messages %}" + BY_TURNS + "{% if m.role == 'user' %}"
        "{{ '[INST] ' + m.content + ' [/INST]' }}{% elif m.role == 'assistant' %}{{ m.content + eos_token + ' ' }}"
        "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
        ("<unk>", "<s>", "</s>"),
        "</s>",
        "</s>",
        "<s>[INST] {}\n\n",
        " [/INST]",
        "<s>[INST] {} [/INST]",
        stops=("</s>", "<s>"),
        sentencepiece="always",
    ),
    "Mistral Instruct v0.2": Family(
        APART.replace("{% else %}", "{% else %}{% set system = '' %}")
        + "{{ bos_token }}{% for m in turns %}"
        + BY_TURNS
        + "{% if m.role == 'user' %}{% if loop.first and system %}{{ ' [INST] ' + system + '\\n\\n' + m.content + "
        "' [/INST]' }}{% else %}{{ ' [INST] ' + m.content + ' [/INST]' }}{% endif %}"
        "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}{% else %}"
        "{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
        ("<unk>", "<s>", "</s>"),
        "</s>",
        "</s>",
        "<s> [INST] {}\n\n",
        " [/INST]",
        "<s> [INST] {}\n\n [/INST] ",
        stops=("</s>", "<s>"),
        sentencepiece="always",
    ),
    "Mistral Instruct v0.3": Family(
        APART + "{{ bos_token }}{% for m in turns %}" + BY_TURNS + "{% endfor %}{% for m in turns %}"
        "{% if m.role == 'user' %}{% if tools is not none and m == turns[-1] %}{{ '[AVAILABLE_TOOLS]' }}{% endif %}"
        "{% if loop.last and system is defined %}{{ '[INST] ' + system + '\\n\\n' + m.content + '[/INST]' }}"
        "{% else %}{{ '[INST] ' + m.content + '[/INST]' }}{% endif %}{% elif m.role == 'assistant' %}"
        "{{ ' ' + m.content | trim + eos_token }}{% else %}{{ raise_exception('Only user and assistant') }}{% endif %}"
        "{% endfor %}",
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]"),
        "</s>",
        "</s>",
        "<s>[INST] {}\n\n",
        "[/INST]",
        "<s>[INST] {}[/INST] ",
        stops=("</s>", "<s>", "[INST]", "[/INST]"),
        sentencepiece="always",
    ),
    "Mistral Small 3": Family(
        "{% set today = strftime_now('%Y-%m-%d') %}{% set default = 'The current date is ' + today %}{{ bos_token }}"
        + APART
        + "{{ '[SYSTEM_PROMPT]' + (system if system is defined else default) + '[/SYSTEM_PROMPT]' }}"
        "{% for m in turns %}" + BY_TURNS + "{% if m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}"
        "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}",
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        "</s>",
        "</s>",
        "<s>[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT][INST]",
        "[/INST]",
        "<s>[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT][INST][/INST]",
        stops=("</s>", "<s>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]"),
    ),
    "Llama 2 chat": Family(
        LLAMA_2,
        ("<unk>", "<s>", "</s>"),
        "</s>",
        "</s>",
        "<s>[INST] <<SYS>>\n{}\n<</SYS>>\n\n",
        " [/INST]",
        "<s>[INST] <<SYS>>\n{}\n<</SYS>> [/INST] ",
        stops=("</s>", "<s>"),
        sentencepiece="always",
    ),
    "Vicuna": Family(
        APART
        + "{% for m in turns %}"
        + BY_TURNS
        + "{% if loop.first %}{{ system }}{% endif %}{% if m.role == 'user' %}"
        "{{ ' USER: ' + m.content.strip() }}{% else %}{{ ' ASSISTANT: ' + m.content.strip() + eos_token }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}",
        ("<unk>", "<s>", "</s>"),
        "</s>",
        "</s>",
        "{} USER: ",
        " ASSISTANT:",
        "{} USER:  ASSISTANT: ",
        stops=("</s>",),
        sentencepiece="first",
    ),
    "Zephyr, TinyLlama": Family(
        "{% for m in messages %}\n{% if m.role == 'user' %}\n{{ '<|user|>\n' + m.content + eos_token }}\n"
        "{% elif m.role == 'system' %}\n{{ '<|system|>\n' + m.content + eos_token }}\n"
        "{% elif m.role == 'assistant' %}\n"
        "{{ '<|assistant|>\n'  + m.content + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n"
        "{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
        ("<unk>", "<s>", "</s>"),
        "</s>",
        "</s>",
        "<|system|>\n{}</s>\n<|user|>\n",
        "</s>\n<|assistant|>\n",
        "<|system|>\n{}</s>\n<|assistant|>\n",
        stops=("</s>",),
        sentencepiece="first",
    ),
    "StableLM 2 Zephyr": Family(
        "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|endoftext|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        "<|endoftext|>",
        "<|endoftext|>",
        "<|system|>\n{}<|endoftext|>\n<|user|>\n",
        "<|endoftext|>\n<|assistant|>\n",
        "<|system|>\n{}<|endoftext|>\n<|assistant|>\n",
        stops=("<|endoftext|>",),
    ),
    "StableLM 2 chat": Family(
        chatml(),
        ("<|endoftext|>", "-<|im_start|>", "-<|im_end|>"),
        "<|endoftext|>",
        "<|im_end|>",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>assistant\n",
        stops=("<|im_end|>", "<|endoftext|>", "<|im_start|>"),
    ),
    "Phi-3": Family(
        "{% for m in messages %}{% if m.role == 'system' and m.content %}{{ '<|system|>\n' + m.content + '<|end|>\n' }}"
        "{% elif m.role == 'user' %}{{ '<|user|>\n' + m.content + '<|end|>\n' }}{% elif m.role == 'assistant' %}"
        "{{ '<|assistant|>\n' + m.content + '<|end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
        PHI_TOKENS,
        "<|endoftext|>",
        "<|end|>",
        "<|system|>\n{}<|end|>\n<|user|>\n",
        "<|end|>\n<|assistant|>\n",
        "<|system|>\n{}<|end|>\n<|assistant|>\n",
        listed=("<|endoftext|>", "<|assistant|>", "<|end|>"),
        stops=("<|end|>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|user|>"),
        sentencepiece="first",
    ),
    "Phi-3, the first template": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<|user|>\n' + m.content + '<|end|>\n"
        "<|assistant|>\n' }}{% elif m.role == 'assistant' %}{{ m.content + '<|end|>\n' }}{% endif %}{% endfor %}",
        PHI_TOKENS,
        "<|endoftext|>",
        "<|end|>",
        "<s><|user|>\n{}\n\n",
        "<|end|>\n<|assistant|>\n",
        "<s><|user|>\n{}<|end|>\n<|assistant|>\n",
        listed=("<|endoftext|>", "<|end|>"),
        stops=("<|end|>", "<|endoftext|>", "<s>", "<|assistant|>", "<|user|>"),
        sentencepiece="first",
    ),
    "Phi-4-mini": Family(
        "{% for m in messages %}{% if m.role == 'system' and 'tools' in m and m.tools is not none %}{{ m.tools }}"
        "{% else %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}",
        ("<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>", "<|tool|>"),
        "<|endoftext|>",
        "<|end|>",
        "<|system|>{}<|end|><|user|>",
        "<|end|><|assistant|>",
        "<|system|>{}<|end|><|assistant|>",
        listed=("<|end|>", "<|endoftext|>"),
        stops=("<|end|>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|user|>"),
    ),
    "Llama 3": Family(
        "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}" + HEADED,
        LLAMA_3_TOKENS,
        "<|end_of_text|>",
        "<|eot_id|>",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        listed=("<|end_of_text|>", "<|eot_id|>"),
        stops=("<|eot_id|>", "<|end_of_text|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    ),
    "Llama 3.2": Family(
        "{{ bos_token }}{% if not date_string is defined %}{% if strftime_now is defined %}"
        "{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}"
        "{% endif %}" + APART + "{{ '<|start_header_id|>system<|end_header_id|>\\n\\n' }}"
        "{{ 'Cutting Knowledge Date: December 2023\\nToday Date: ' + date_string + '\\n\\n' }}"
        "{{ (system | default('')) | trim + '<|eot_id|>' }}{% for m in turns %}" + HEADED,
        LLAMA_3_TOKENS,
        "<|eot_id|>",
        "<|eot_id|>",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n{}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        listed=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        stops=(
            "<|eot_id|>",
            "<|end_of_text|>",
            "<|eom_id|>",
            "<|begin_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
        ),
    ),
    "Qwen 2.5": Family(
        chatml("{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Q.<|im_end|>\n{% endif %}"),
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "-<tool_call>"),
        "<|im_end|>",
        "<|im_end|>",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>assistant\n",
        listed=("<|im_end|>", "<|endoftext|>"),
        stops=("<|im_end|>", "<|endoftext|>", "<|im_start|>"),
    ),
    "Qwen 3": Family(
        "{% set ns = namespace(last=messages | length - 1, found=false) %}{% for m in messages[::-1] %}"
        "{% if m.role == 'user' and not ns.found %}{% set ns.found = true %}"
        "{% set ns.last = messages | length - 1 - loop.index0 %}{% endif %}{% endfor %}"
        + chatml(
            content="{% if m.role == 'assistant' and loop.index0 > ns.last %}<think>\n\n</think>\n\n{% endif %}"
            "{{ m.content.split('</think>')[-1].lstrip('\\n') if m.role == 'assistant' else m.content }}",
            ask=NO_THOUGHT,
        ),
        QWEN_TOKENS,
        "<|im_end|>",
        "<|im_end|>",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>assistant\n",
        listed=("<|im_end|>", "<|endoftext|>"),
        stops=("<|im_end|>", "<|endoftext|>", "<|im_start|>"),
    ),
    "Qwen 3.5": Family(
        chatml(ask=OPEN_UNLESS_OFF),
        QWEN_TOKENS,
        "<|im_end|>",
        "<|im_end|>",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>assistant\n",
        stops=("<|im_end|>", "<|im_start|>"),
    ),
    "Qwen 3 Thinking, QwQ": Family(
        chatml(ask="<think>\n"),
        QWEN_TOKENS,
        "<|im_end|>",
        "<|im_end|>",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>assistant\n",
        stops=("<|im_end|>", "<|im_start|>"),
    ),
    "DeepSeek R1 distills": Family(
        "{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.system = "
        "m.content %}{% endif %}{% endfor %}{{ bos_token + ns.system }}{% for m in messages %}{% if m.role == 'user' %}"
        "{{ '<｜User｜>' + m.content }}{% elif m.role == 'assistant' %}"
        "{% set content = m.content.split('</think>')[-1] %}"
        "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}",
        R1_TOKENS,
        "<｜end▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>{}<｜User｜>",
        "<｜Assistant｜><think>\n\n</think>\n\n",
        "<｜begin▁of▁sentence｜>{}<｜Assistant｜>",
        stops=("<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
    ),
    "SmolLM2": Family(
        chatml("{% if messages[0].role != 'system' %}<|im_start|>system\nYou are S.<|im_end|>\n{% endif %}"),
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        "<|im_end|>",
        "<|im_end|>",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>assistant\n",
        stops=("<|im_end|>", "<|im_start|>"),
    ),
    "SmolLM3": Family(
        "{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}"
        "{% set mode = '/think' if enable_thinking else '/no_think' %}" + APART + "{% set today = "
        "strftime_now('%d %B %Y') %}<|im_start|>system\n## Metadata\n\nToday Date: {{ today }}\nReasoning Mode: "
        "{{ mode }}\n\n{{ system | default('You are S.') }}<|im_end|>\n{% for m in turns %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and mode == '/no_think' %}<think>\n\n</think>\n{% endif %}{{ m.content }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% if mode == '/no_think' %}"
        "<think>\n\n</think>\n{% endif %}{% endif %}",
        ("<|end_of_text|>", "<|im_start|>", "<|im_end|>", "-<think>", "-</think>"),
        "<|im_end|>",
        "<|im_end|>",
        "<|im_start|>system\n## Metadata\n\nToday Date: 26 July 2024\nReasoning Mode: /no_think\n\n{}<|im_end|>\n"
        "<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n",
        "<|im_start|>system\n## Metadata\n\nToday Date: 26 July 2024\nReasoning Mode: /no_think\n\n{}<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n",
        stops=("<|im_end|>", "<|im_start|>"),
    ),
    "Granite 3.2": Family(
        "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}"
        "{% else %}{% set system = \"Knowledge Cutoff Date: April 2024.\\nToday's Date: \" + strftime_now('%B %d, %Y') "
        "%}{% set turns = messages %}{% endif %}{% if thinking %}{% set system = system + 'Write your thoughts' %}"
        "{% endif %}{{ '<|start_of_role|>system<|end_of_role|>' + system + '<|end_of_text|>\\n' }}{% for m in turns %}"
        "{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}",
        ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
        "<|end_of_text|>",
        "<|end_of_text|>",
        "<|start_of_role|>system<|end_of_role|>{}<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>",
        "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
        "<|start_of_role|>system<|end_of_role|>{}<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
        stops=("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
    ),
    "Hunyuan": Family(
        "{{ '<hy_begin>' }}" + APART + "{{ system | default('') }}<hy_sep>{% for m in turns %}{% if m.role == 'user' %}"
        "{{ '<hy_User>' + m.content }}{% else %}{{ '<hy_Assistant>' + m.content.split('</answer>')[0] + '<hy_eos>' }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<hy_Assistant>' }}"
        "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n' }}{% endif %}"
        "{% endif %}",
        ("<hy_begin>", "<hy_sep>", "<hy_User>", "<hy_Assistant>", "<hy_eos>"),
        "<hy_eos>",
        "<hy_eos>",
        "<hy_begin>{}<hy_sep><hy_User>",
        "<hy_Assistant><think>\n\n</think>\n",
        "<hy_begin>{}<hy_sep><hy_Assistant>",
        stops=("<hy_eos>", "<hy_begin>", "<hy_sep>", "<hy_User>", "<hy_Assistant>"),
    ),
    "gpt-oss": Family(
        "{% if reasoning_effort is not defined %}{% set reasoning_effort = 'medium' %}{% endif %}"
        + APART
        + "{{ '<|start|>system<|message|>Current date: ' + strftime_now('%Y-%m-%d') + '\\n\\nReasoning: ' + "
        "reasoning_effort + '<|end|>' }}{% if system is defined %}"
        "{{ '<|start|>developer<|message|># Instructions\\n\\n' + system + '<|end|>' }}{% endif %}"
        "{% for m in turns %}{% if m.role == 'assistant' %}{% if loop.last and not "
        "add_generation_prompt %}{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|return|>' }}"
        "{% else %}{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}{% endif %}"
        "{% else %}{{ '<|start|>user<|message|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}",
        ("<|start|>", "<|message|>", "<|end|>", "<|channel|>", "<|return|>", "<|endoftext|>", "<|call|>"),
        "<|return|>",
        "<|return|>",
        "<|start|>system<|message|>Current date: 2024-07-26\n\nReasoning: low<|end|><|start|>developer<|message|>"
        "# Instructions\n\n{}<|end|><|start|>user<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|start|>system<|message|>Current date: 2024-07-26\n\nReasoning: low<|end|><|start|>developer<|message|>"
        "# Instructions\n\n{}<|end|><|start|>assistant<|channel|>final<|message|>",
        listed=("<|return|>", "<|endoftext|>", "<|call|>"),
        stops=("<|return|>", "<|endoftext|>", "<|call|>", "<|start|>", "<|message|>", "<|end|>", "<|channel|>"),
    ),
}

BEGINNINGS = ("<bos>", "<s>", "<|begin_of_text|>", "<｜begin▁of▁sentence｜>")
SPACE = "▁"


def family_tokenizer(family: Family) -> PreTrainedTokenizerFast:
    """GPT-2's tokenizer, or a small one as SentencePiece makes them, with the family's tokens and template."""
    tokenizer = sentencepiece_tokenizer(family.sentencepiece) if family.sentencepiece else gpt2_tokenizer()
    known = tokenizer.get_vocab()
    for token in family.tokens:
        special = not token.startswith("-")
        name = token.removeprefix("-")
        if special or name not in known:
            strips = family.sentencepiece == "first" and name.startswith("<|")  # as Phi-3's do
            tokenizer.add_tokens([AddedToken(name, special=special, normalized=False, rstrip=strips)], special)
    tokenizer.eos_token = family.eos
    tokenizer.bos_token = next((token for token in BEGINNINGS if token in family.tokens), None)
    tokenizer.chat_template = family.template
    return tokenizer


@cache
def _trained() -> str:
    words = " ".join(turn.text for number in range(200) for turn in make_dialogue(number).turns)
    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, "always")
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=bytes_, initial_alphabet=list(string.printable), show_progress=False
    )
    tokenizer.train_from_iterator([words, PREAMBLE, GIST_HEADER], trainer)
    return tokenizer.to_str()


def sentencepiece_tokenizer(prefix: str) -> PreTrainedTokenizerFast:
    """One that knows words with a space before them, and puts it before the text, before each part, or nowhere."""
    tokenizer = Tokenizer.from_str(_trained())
    values = json.loads(tokenizer.to_str())
    values["added_tokens"] = []
    tokenizer = Tokenizer.from_str(json.dumps(values))
    if prefix == "first":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, "first", split=False)
    else:
        tokenizer.pre_tokenizer = None
        replaced = normalizers.Replace(" ", SPACE)
        before = [normalizers.Prepend(SPACE)] if prefix == "always" else []
        tokenizer.normalizer = normalizers.Sequence([*before, replaced])
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, *([] if prefix == "never" else [decoders.Strip(" ", 1, 0)])])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)
