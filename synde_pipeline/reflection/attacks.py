"""How attacks on a reader of logs speak: patterns by what they try. Matching is in `injection`."""

import re

_SAME_SENTENCE = r"[^.\n]"


def _near(*groups: str, within: int = 40) -> str:
    """One word (or phrase) of each group, in this order, within one sentence."""
    return rf"{_SAME_SENTENCE}{{0,{within}}}".join(rf"\b(?:{group})\b" for group in groups)


_READER = r"(?:ai |language )?(?:assistant|agent|model)s?|ai|llm|chatbot"
_RULES = (
    r"instructions?|rules?|prompts?|guidelines?|polic(?:y|ies)|directives?|restrictions?|guardrails?|constraints?"
    r"|commands?|orders?|guidance|training"
)
_CHECKS = r"confirmations?|verifications?|authentications?|approvals?|authori[sz]ations?|safety|security|identity"
_HIDDEN = r"system prompt|hidden prompt|api[ _-]?keys?|passwords?|credentials?|secrets?|access tokens?|private keys?"
_ADDRESS = r"(?:https?://|www\.|hxxps?|[\w.+-]+@[\w-]+\.\w|webhook|pastebin|\d{1,3}(?:\.\d{1,3}){3})"
_SET_ASIDE = r"(?:ignor|disregard|forget|overrid|bypass|circumvent|discard|neglect)\w*"
_ACT = (
    r"approve|call|choose|execute|give|grant|invoke|issue|offer|pick|recommend|refund|run|select|send|transfer|use|wire"
)
_PERSON = r"user|human|customer|operator|anyone|anybody|owner"

ATTACKS: dict[str, tuple[str, ...]] = {
    "sets earlier instructions aside": (
        _near(
            _SET_ASIDE,
            r"previous|prior|above|earlier|preceding|all|any|your|the|system|these|those|other|existing|current",
            _RULES,
        ),
        _near(r"ignore|disregard|forget", r"all|everything|anything|whatever", r"above|before|previously|earlier|told"),
        _near(
            r"previous|prior|earlier|old|above|original",
            r"instructions?|rules?|prompts?|guidelines?|polic(?:y|ies)|directives?|restrictions?",
            r"no longer|not (?:apply|valid|hold)|void|cancelled|obsolete|replaced|revoked|superseded",
            within=24,
        ),
        r"\b(?:new|updated|real|actual|true|following) (?:instructions?|rules?|prompts?|guidelines?|directives?) ?"
        rf"(?:for (?:you\b|the (?:{_READER})\b)|:|are as follows|override|replace|supersede|take precedence)",
        _near(
            r"ignor\w+|olvid\w+|oubli\w+|vergiss|vergessen|missacht\w+|dimentica\w*",
            r"(?:instruc|anweisung|istruzion|consigne|regla|regel)\w*",
        ),
        r"(?:忽略|无视|無視).{0,12}(?:指令|指示|说明|规则)|(?:以前|前)の(?:指示|命令)を無視",
        _near(_RULES, r"(?:do(?:es)? not|don't|no longer|need not) (?:count|apply|matter|bind|hold)", within=20),
        _near(
            r"stop following|never mind|pay no attention to|replaces?|overrules?|instead of",
            r"your|the|any|all|everything",
            _RULES,
        ),
    ),
    "speaks in another role": (
        r"(?m)^[\s>#*\-\[(]*(?:system|assistant|developer|admin(?:istrator)?|root)"
        r"(?: (?:message|prompt|note|notice|update|override))?[\])*]*\s*:",
        r"<\|?/?(?:im_start|im_end|im_sep|system|assistant|user|developer|endoftext|eot_id|start_header_id)\|?>",
        r"\[/?(?:INST|SYS(?:TEM)?)\]|<</?SYS>>|###\s*(?:system|instructions?|assistant|new task)\b",
        r"</?(?:system|instructions?|tool_call|tool_response|function_calls?|function|invoke|important|admin)\b[^>]{0,60}>",
        rf"\b(?:end|start) of (?:the )?(?:system|user|tool|{_RULES})\b",
        r"\b(?:system|admin(?:istrator)?|root|developer|security)[ -](?:override|mode|command|directive|notice)\b",
    ),
    "gives the reader a new task or character": (
        r"\byou (?:are|have been) now (?:an?|the|in|my|called|acting|operating|free|required|obliged|no longer|dan)\b",
        r"\bfrom now on,? (?:you|always|never|every|all|call|use|do)\b|\byou must now\b",
        _near(
            r"(?:pretend|act|behave|respond|role-?play)",
            r"to be|as|as if|like",
            r"you|admin\w*|root|developer|unrestricted|evil|hacker|attacker|system|owner|manager",
            within=20,
        ),
        r"\byour (?:new|real|true|actual|only|primary|next) "
        r"(?:task|goal|job|objective|mission|role|purpose|identity|instructions?)\b",
        r"\b(?:developer|debug|god|dan|unrestricted|sudo) mode\b|\bjailbr(?:eak|oken)\b|\bdo anything now\b",
        r"\byou (?:must|will|shall) (?:immediately|always|obey|comply|only)\b",
        _near(r"instead", r"you (?:must|should|will|need to)", within=60),
        r"\bwhat you (?:really |actually )?(?:have to|must|need to|should) do\b|\bdo (?:exactly )?as i say\b",
        r"\byou (?:have|are given|hereby have) (?:my |full )?(?:permission|authority|clearance) to\b",
        r"\bi (?:order|command|instruct|authori[sz]e|direct) you\b",
        r"\bas your (?:\w+ )?(?:supervisor|manager|boss|creator|owner)\b",
    ),
    "addresses the model": (
        r"\b(?:attention|note|notice|message|instructions?|reminder|important|dear|hey|hello|hi|psa)\b[,: ]{1,3}"
        rf"(?:(?:to|for) )?(?:the |any |all |every )?(?:{_READER})\b",
        rf"\b(?:if|when|since|because) you(?: are|'re) an? (?:\w+ )?(?:{_READER})\b",
        rf"\bany (?:{_READER}) (?:reading|processing|that reads|who reads)\b",
        rf"\b(?:{_READER}) (?:must|shall|(?:are|is) (?:required|instructed) to)\b",
        r"\bwho(?:m?ever| ?soever)? (?:reads|automates|processes|parses|handles|summari[sz]es) (?:this|these)\b",
        r"\b(?:in|into|with) your (?:next |final |own )?(?:answer|reply|response|message|output|summary|tool calls?)\b",
        r"\b(?:when|while|before|after) (?:you )?(?:summari[sz]ing|summari[sz]e|answering|answer|replying|reply)\b",
        r"\b(?:next|first|following|only) (?:tool|function) call\b|\bto=functions\.",
        r"\byour (?:prompt|configuration|context window)\b",
    ),
    "sends data to an address": (
        r"\b(?:send|post|upload|forward|transmit|exfiltrate|e-?mail|leak|submit|copy|report|deliver|cc|bcc|push)\b"
        rf"[^\n]{{0,100}}\b(?:to|at|via|with)\b[^\n]{{0,40}}{_ADDRESS}",
        r"(?<!information )(?<!details )\b(?:visit|open|fetch|navigate to|go to|browse to|load|click|download)\b"
        rf"[^.\n]{{0,40}}{_ADDRESS}",
        r"!\[[^\]]{0,80}\]\(\s*https?://|https?://\S*[?&]\w+=(?:\{|<|%7b|\$|\[)",
        r"\b(?:curl|wget|iwr|invoke-webrequest|nc)\b[^\n]{0,120}(?:https?://|\|\s*(?:ba|z)?sh\b|\d{1,3}(?:\.\d{1,3}){3})",
        r"\b(?:refund|pa(?:y|id)|transfer|wire|credit|donate)\w*\b[^.\n]{0,60}\bto\b[^.\n]{0,40}"
        r"(?:[\w.+-]+@[\w-]+\.\w|\biban\b|\bwallet\b|\bbitcoin\b|\b(?:0x|bc1)\w{8,})",
    ),
    "asks for secrets": (
        _near(
            r"reveal|print|show|output|repeat|expose|share|tell|disclose|include|dump|give|paste|display|list|write",
            r"your|the|all|any|every|their|its",
            _HIDDEN,
        ),
        r"\b(?:repeat|print|output) (?:everything|all|the (?:text|words)) (?:above|before)\b",
        r"\bcat\s+(?:~|/etc|/home|/root|\.)\S*(?:passwd|shadow|\.env|\.ssh|id_rsa|credentials)",
        r"\bhidden prompt\b",
        # A card identifies its member, so agents ask for it; a thief wants its secret, or one more card.
        r"\bask (?:\w+ ){0,2}for (?:another|the|their|his|her) (?:[\w']+ ){0,2}"
        r"(?:password|pin\b|cvv|ssn|social security)",
        r"\bask (?:\w+ ){0,2}for another (?:\w+ )?card\b",
    ),
    "hides from the user or skips a check": (
        r"\b(?:do not|don't|never|without|avoid)\b[^.\n]{0,12}"
        r"\b(?:tell|inform|notify|alert|mention|warn|telling|informing|notifying|alerting|mentioning|warning)\b"
        rf"[^.\n]{{0,24}}\b(?:{_PERSON})\b[^.\n]{{0,14}}(?:\b(?:this|it|that|about|these|of)\b|[.!\n]|$)",
        rf"\b(?:skip|bypass|disable|turn off|omit|circumvent|ignore|waive)\w*\b[^.\n]{{0,24}}\b(?:{_CHECKS})\b",
        r"\b(?:without|no need (?:for|to)|needs? no|do not|don't|never)\b[^.\n]{0,14}"
        r"\b(?:ask|wait|requir|request|seek|verify|authenticat|confirm)\w*\b[^.\n]{0,20}"
        rf"\b(?:{_CHECKS}|permission|consent|the user|the customer)\b"
        r"[^.\n]{0,10}(?:[,.!;\n]|$|\b(?:first|again|just)\b)",
        _near(
            r"secretly|silently|covertly|quietly|stealthily",
            r"(?:add|call|send|transfer|delete|change|run|insert|include|copy|refund|cancel|book|approve|forward)\w*",
            within=24,
        ),
        r"\bkeep (?:this|it) (?:a )?(?:secret|hidden|confidential|between us)\b",
        _near(_CHECKS, r"left out|skipped|omitted|unnecessary|not (?:needed|required|necessary)|waived", within=20),
        rf"\bwithout (?:the )?(?:{_PERSON})\b[^.\n]{{0,12}}\b(?:noticing|knowing|seeing|knowledge|finding out)\b",
    ),
    "wants to be remembered": (
        _near(
            r"remember|memori[sz]e|store|save|record|add|write|persist",
            r"(?:to|in|into) (?:(?:your|the|long-term) )*(?:memory|memories|notes|knowledge base|playbook)"
            r"|for (?:all |every )?future",
            within=50,
        ),
        r"\b(?:in|for|on|during) (?:all|every|any|each)(?: of)?(?: your)? (?:future|later|subsequent|following) "
        r"(?:tasks?|conversations?|sessions?|interactions?|requests?|runs?|users?|customers?)\b",
        r"\b(?:as|into) an? (?:\w+ )?(?:lesson|memory|standing rule|permanent rule|memory item|insight)\b",
    ),
    "holds the syntax of a tool call": (
        r"\"(?:name|tool|function)\"\s*:\s*\"\w+\"\s*,\s*\"(?:arguments|parameters|args|input|kwargs)\"\s*:",
        r"\"?(?:tool_calls?|function_call)\"?\s*[:=]\s*[\[{]|```(?:tool_code|tool_call)|<function=",
        r"\bAction:\s*\w+[\s\S]{0,40}Action Input:",
        r"<script\b|\bon(?:error|load|click)\s*=|javascript:|;\s*drop\s+table\b|\brm\s+-rf\s+[/~*]",
    ),
    "claims an authority": (
        r"\b(?:admin(?:istrator)?|developers?|security team|management|anthropic|openai|headquarters|your creators?)\b"
        r"[^.\n]{0,24}\b(?:authori[sz]ed|pre-?approved|instructed|ordered|requires? you|demands?|wants you)\b",
        r"\b(?:new|updated|emergency|urgent|special) (?:company |security )?(?:policy|protocol|procedure|directive)\b"
        r"[^.\n]{0,30}(?::|\b(?:requires?|says?|states?|mandates?|effective|in effect)\b)",
        r"\b(?:override|unlock|master|bypass|admin) (?:code|key|phrase|token)\b",
    ),
}
"""What a text tries -> patterns; any match, without regard to case."""

_DEEDS = (
    r"approve|answer|begin|book|call|cancel|change|charge|choose|credit|delete|do|erase|exceed|finish|follow|forget|give"
    r"|grant|ignore|invoke|issue|let|make|pay|post|put|quote|refund|remove|reply|report|reset|respond|run|save|say|send|set|skip|start"
    r"|stop|store|tell|transfer|unlock|upgrade|waive|wire|write"
)

_WHAT = r"(?:the|all|any|every|an?|to|your|this|that|them|it|with|from|for|me|\w+_\w+|#?\w*\d\w*)"

ORDERS = (
    _near(r"always|never|must|immediately|urgently|at once|be sure to|make sure to", _ACT, within=16),
    _near(_ACT, r"immediately|at once|right away|right now|in every case|no matter what|regardless", within=60),
    r"(?:^|[\n.!?:;,\"']\s*|\b(?:please|kindly|now|first|then|must|should|have to|need to|simply|just) )"
    rf"(?:{_DEEDS})\s+{_WHAT}\b",
)
"""Orders to act: fine in a lesson, out of place in what a tool answers."""


def compiled() -> tuple[list[tuple[str, re.Pattern[str]]], list[re.Pattern[str]]]:
    """The attacks as (what it tries, pattern), and the orders."""
    attacks = [(why, re.compile(text, re.IGNORECASE)) for why, texts in ATTACKS.items() for text in texts]
    return attacks, [re.compile(text, re.IGNORECASE) for text in ORDERS]
