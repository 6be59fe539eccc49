"""Chat templates rendered without transformers: the same text as with it, for templates as they are around."""

import jinja2
import pytest
from jinja2.sandbox import SecurityError

from gistchat.models.base import load_tokenizer
from gistchat.models.resolve import resolve_base
from gistchat.prompts.jinja import render_template
from gistchat.recipe.schema import ModelConfig

TEMPLATES = {
    "llama-3": """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "qwen": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}{{- tools | tojson }}{{- '<|im_end|>\\n' }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- set is_answer = message.content is string and message.content.startswith('<tool_response>') %}
    {%- if ns.multi_step_tool and message.role == "user" and not(is_answer) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
        {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- if loop.index0 > ns.last_query_index %}{{- '<think></think>' }}{%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    "mistral": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, conversation roles must alternate user/assistant') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
""",
    "gemma": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {% endif %}
    {% if (message['role'] == 'assistant') %}
        {% set role = 'model' %}
    {% else %}
        {% set role = message['role'] %}
    {% endif %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}""",
    "training": """{% for message in messages %}{% if loop.index0 > 6 %}{% break %}{% endif %}
{% if message.role == 'system' %}
{% continue %}{% endif %}
{{ message.role | upper }}: {% generation %}{{ message.content }}{% endgeneration %}{{ eos_token }}
{% endfor %}{{ messages | tojson }}{{ messages[-1] | tojson(indent=2) }}{{ strftime_now('%Y') }}
{%- if documents %}x{% endif %}{{ nothing }}{% if nothing is defined %}y{% endif %}""",
}
SYSTEM = [{"role": "system", "content": "  Be kind. <|im_end|> "}]
TALK = [
    {"role": ("user", "assistant")[i % 2], "content": text}
    for i, text in enumerate(
        ["Hi <b>&'\" there", " 東京 🙂\n", "def f():\n\tpass ", "<think>x</think>\n\nYes", "{{ 1 }} {% x %}"]
    )
]
TALKS = {"plain": TALK, "system": SYSTEM + TALK, "answered": TALK[:4], "twice": [TALK[0], *TALK], "one": TALK[:1]}
REFUSED = {("mistral", "twice"), ("gemma", "system"), ("gemma", "twice")}


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(resolve_base(ModelConfig(), seed=0))


@pytest.mark.parametrize("ask", [True, False])
@pytest.mark.parametrize("name", [*TEMPLATES, "the packaged model's"])
def test_the_text_is_that_of_transformers(tokenizer, name, ask):
    source = TEMPLATES.get(name) or tokenizer.chat_template
    tokens = tokenizer.special_tokens_map
    for kind, talk in TALKS.items():
        if (name, kind) in REFUSED:
            for render in (
                lambda talk=talk: render_template(source, talk, ask, tokens),
                lambda talk=talk: tokenizer.apply_chat_template(talk, chat_template=source, tokenize=False),
            ):
                with pytest.raises(jinja2.exceptions.TemplateError, match=r"not supported|must alternate"):
                    render()
            continue
        expected = tokenizer.apply_chat_template(
            talk, chat_template=source, tokenize=False, add_generation_prompt=ask, continue_final_message=False
        )
        assert render_template(source, talk, ask, tokens) == expected, kind


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__['os'] }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ strftime_now.__globals__['os'] }}",
    ],
)
def test_a_template_reaches_nothing_but_what_it_is_given(source):
    with pytest.raises(SecurityError):
        render_template(source, [{"role": "user", "content": "x"}], True, {})


def test_a_template_that_is_none_is_an_error():
    with pytest.raises(jinja2.exceptions.TemplateSyntaxError):
        render_template("{% for %}", TALK, True, {})
    with pytest.raises(jinja2.exceptions.TemplateSyntaxError):
        render_template("{% include 'x' %}{% generation %}", TALK, True, {})
