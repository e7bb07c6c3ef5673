"""What public datasets call the columns of a row, the turns of a conversation and their roles.

To have another name read, put it where it belongs here; pair.py says what follows from it.
"""

import re
from collections.abc import Mapping

NAMES: Mapping[str, tuple[str, ...]] = {
    "conversation": (
        "messages",
        "conversations",
        "conversation",
        "dialog",
        "dialogue",
        "dialogs",
        "dialogues",
        "turns",
        "chat",
        "conv",
        "thread",
        "message_list",
        "contents",
    ),
    "unlabelled": ("data", "items"),
    "wrapped": ("instances", "instance"),
    "tools": ("tools", "functions", "available_tools", "function_definitions"),
    "system": ("system", "system_prompt", "system_message", "system_instruction"),
    "history": ("history", "chat_history", "conversation_history"),
    "instruction": (
        "instruction",
        "prompt",
        "question",
        "query",
        "problem",
        "definition",
        "task_description",
        "inputs_pretokenized",
        "inputs",
        "question_stem",
        "question_text",
        "goal",
        "ctx",
        "human",
        "user_prompt",
        "user_input",
        "formatted_prompt",
        "input_text",
        "q",
        "指令",
        "问题",
        "meaning_representation",
        "input",
        "sentence",
        "context",
        "document",
        "article",
        "dialogue",
        "src",
    ),
    "input": (
        "input",
        "inputs",
        "context.contexts",
        "context.sentences",
        "context",
        "passage",
        "article",
        "support",
        "story",
        "document",
        "background",
        "premise",
        "knowledge",
        "dialogue",
    ),
    "choices": ("choices", "options", "endings", "candidates"),
    "key": (
        "answer",
        "answerkey",
        "answer_key",
        "answer_idx",
        "answer_index",
        "correct_answer",
        "correct_option",
        "correct",
        "cop",
        "gold",
        "label",
        "target",
    ),
    "reasoning": (
        "reasoning",
        "reasoning_content",
        "rationale",
        "thinking",
        "thought",
        "chain_of_thought",
        "complex_cot",
        "cot",
    ),
    "response": (
        "response",
        "output",
        "completion",
        "answer.value",
        "answer.text",
        "answer",
        "answers.text",
        "answers_spans.spans",
        "answers",
        "best_answer",
        "correct_answer",
        "long_answer",
        "chosen",
        "response_j",
        "targets_pretokenized",
        "targets",
        "target",
        "solution",
        "generated_solution",
        "canonical_solution",
        "solutions",
        "final_answer",
        "assistant",
        "gpt",
        "chatgpt",
        "bot",
        "moss",
        "model_response",
        "model_output",
        "output_text",
        "回答",
        "答案",
        "human_reference",
        "a",
        "highlights",
        "summary",
        "reply",
        "final_decision",
        "html",
        "code",
        "sql",
        "tgt",
        "text",
        "query",
    ),
    "source": ("source",),
}
"""The columns that a part may be in, the preferred one first; a.b is the member b of a column a."""

PAGE = "html"
"""A column that is the response where there is no better one: a page, its title the instruction.

The step `extract` of curate makes it a text.
"""

OPTIONS = (
    (("a", "b", "c", "d", "e"), 0),
    (("a", "b", "c", "d"), 0),
    (("option_a", "option_b", "option_c", "option_d"), 0),
    (("opa", "opb", "opc", "opd"), 0),
    (("answera", "answerb", "answerc"), 1),
    (("option1", "option2"), 1),
    (("choice1", "choice2"), 0),
    (("sol1", "sol2"), 0),
)
"""Columns that are one choice each, and the number by which the key calls the first one."""

ALTERNATIVES = frozenset(
    {"answer", "answers", "answers.text", "answers_spans.spans", "targets", "solutions"}
)
"""Responses that may be a list of right ones, of which the first filled one is taken."""

BAD = {
    "weight": {"0", "0.0"},
    "label": {"false"},
    "is_correct": {"false"},
    "correct": {"false"},
    "accepted": {"false"},
    "is_accepted": {"false"},
    "desirable": {"false"},
    "train": {"false"},
    "trainable": {"false"},
}
"""Marks of a record or a turn, and the values that say that its answer is not to be learnt."""
GOOD = {"true", "1", "1.0"}

USER, ASSISTANT, SYSTEM, TOOL = "user", "assistant", "system", "tool"
CALL, TOOLS, REASONING, INPUT = "tool call", "tools", "reasoning", "input"
ROLES = {
    USER: "user human prompter customer client person question inst instruction questioner",
    ASSISTANT: "assistant gpt chatgpt bing bard model ai bot chatbot claude gemini llm moss agent"
    " assistant_response answer response /inst",
    SYSTEM: "system developer",
    TOOL: "tool function observation tool_response tool_result function_response ipython"
    " function_result environment",
    CALL: "function_call tool_call functioncall toolcall",
    REASONING: "reasoning thinking thought thoughts",
    INPUT: "input context",
}
ROLE_OF = {alias: role for role, aliases in ROLES.items() for alias in aliases.split()}
"""What a turn's role is called, in lower case and with _ between words."""

TURN_NAMES = {
    "role": ("role", "from", "speaker", "sender", "author.role", "author"),
    "content": ("content", "value", "text", "message", "utterance", "parts"),
    "tools": NAMES["tools"],
    "reasoning": NAMES["reasoning"],
    "calls": ("tool_calls", "function_call"),
    "replies": ("replies",),
}
"""What the members of a turn are called."""

_BLANK = (
    rb"\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f"
    rb"\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0"
    rb"\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
).decode("unicode-escape")
"""White space, controls, and the letters that show nothing, as the inside of a character class."""

_NO_INPUT = "|".join(
    re.escape(text)
    for text in (
        "noinput",
        "<noinput>",
        "<no input>",
        "no input",
        "[no input]",
        "no input required",
        "no input needed",
        "n/a",
        "<n/a>",
        "na",
        "none",
        "null",
        "nan",
        "<na>",
        "not applicable",
        "-",
        "empty",
        "<empty>",
    )
)
MISSING = f"(?i)^[{_BLANK}]*(?:(?:{_NO_INPUT})[.]?[{_BLANK}]*)?$"
EMPTY = f"^[{_BLANK}]*$"
