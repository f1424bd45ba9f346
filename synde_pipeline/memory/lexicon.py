"""English of agents' lessons: words that say the same, words that exclude each other, and a light stemmer.

Each table is read as lines. Words that are missing here cost missed merges, never wrong ones: see `memory.distinct`.
"""

import re
from functools import lru_cache

_ENDINGS = [
    (re.compile(pattern), rest)
    for pattern, rest in (
        (r"'s?$", ""),
        (r"(?<=[^aeious]{2})ies$|(?<=[aeiou][^aeious])ies$", "y"),
        (r"(?<=ss|sh|ch)es$|(?<=[xz])es$", ""),
        (r"(?<=[^su])s$", ""),
        (r"ied$", "y"),
        (r"ification$", "ify"),
        (r"(?<=...)(?:ations?|ators?|ating|ated|ate|itions?)$", ""),
        (r"(?<=....)(?:ions?|ity|ment|ness)$|(?<=..[svw])al$", ""),
        (r"(?<=...)(?:ings?|edly|ed|ly)$", ""),
    )
]
"""Endings in the order in which they come off, and what is put in their place."""

_IRREGULAR = """
sent=send kept=keep left=leave found=find took=take taken=take gave=give given=give got=get chose=choose
chosen=choose wrote=write written=write began=begin went=go gone=go said=say told=tell paid=pay made=make
broke=break broken=break held=hold built=build lost=lose read=read ran=run shown=show knew=know known=know
bought=buy sold=sell payment=pay choice=choose data=data status=status
address=address process=process access=access success=success business=business class=class always=always less=less
across=across basis=basis previous=previous hidden=hide different=different failure=fail spent=spend met=meet
fewer=few most=most best=best authorisation=authorize authorise=authorize string=string during=during
nothing=nothing something=something anything=anything everything=everything bring=bring king=king ring=ring
speed=speed need=need feed=feed seed=seed exceed=exceed proceed=proceed
"""

_STOP = """
a an the this that these those it its they them their there he she his her we our you your i me my who whom whose
which what is are was were be been being am do does did doing done has have had having will would shall should can
could may might must to of in on at by for from with as into onto about up out off than so such too very just also
either if when whenever while where whether because since then and or but else only ever yet still already even
rather instead how why s t re ll ve d use using used uses call calls called calling invoke make makes making sure
ensure let lets get gets getting please always actual actually simply carefully properly explicitly explicit
directly exactly really currently immediately clearly proper correctly want wants wish wishes need needs needed try
trying way thing case cases time times one ones via per within during through yourself itself themselves go going
come comes become happen happens seem seems here now e g etc remember necessary able
"""
"""Words that carry no content of their own."""

_SAME = """
user customer client caller shopper traveller passenger subscriber requester member
verify check confirm validate ascertain authenticate
show display present list
find locate search lookup
modify change update edit alter amend adjust
tool function endpoint
request ask
explain tell inform notify say mention state describe
error exception
response reply answer output result
fetch retrieve obtain read load pull
reservation booking book reserve
purchase buy
item product article
agent representative
policy rule guideline
option choice alternative
begin start
finish complete end
detail information info data
id identifier
argument parameter param
folder directory
website site
fix repair resolve correct mend
repeat retry again
total sum
right correct appropriate
price cost fare
select choose pick
guess assume invent fabricate
wrong incorrect mistaken bad
quick fast
give provide supply specify
write save store persist
test spec
break crash
number count quantity
phone device handset
line row record entry
original initial
issue problem trouble
transfer escalate handoff
human person
execute run
before prior ahead
step stage
identity identification
large big huge
small little tiny
missing absent lacking
empty blank
duplicate copy
match agree
several multiple many
hard difficult complicated
all each every any entire whole
other another further additional
"""
"""Each line is one meaning."""

_EXCLUSIVE = """
allow permit approve grant accept / deny refuse reject decline forbid prohibit disallow
increase raise grow higher / decrease lower reduce shrink drop
maximum max most highest largest longest latest / minimum min least lowest smallest shortest earliest
more / less few
above exceed over / below under
enable activate / disable deactivate
include / exclude omit
succeed success work / fail
add insert append attach / remove delete drop detach
open / close shut
lock freeze suspend / unlock unfreeze resume
upload push send / download pull receive
ascend / descend
newest recent new / oldest old
first / last final / second / third / fourth / fifth
early / late
cheap / expensive
required mandatory obligatory / optional
public / private
internal / external
domestic / international
left / right
top / bottom
row / column
input / output
read / write
encode / decode
encrypt / decrypt
import / export
login / logout
inbound / outbound
depart / arrive
local / remote
manual / automatic auto
sync synchronous / async asynchronous
strict / lenient loose
online / offline
strategy / pitfall
buyer / seller
sender / recipient
primary main / secondary backup
browse / search / scroll / click / type / hover / sort / filter
gift / credit / debit / paypal / certificate / voucher / cash
refund / exchange / return / cancel / modify / reorder
economy / business
direct nonstop / connect connection layover
oneway / roundtrip
wifi / cellular / bluetooth / ethernet / roam / airplane
csv / json / xml / yaml / parquet / html / markdown / pdf / xlsx / excel
commit / rebase / merge / stash / cherry
pending / delivered / shipped / processed / cancelled
weekday / weekend
morning / afternoon / evening / night
adult / child / infant
silver / gold / platinum / regular / bronze
shipping / billing
name / email / phone / zip / address
insurance / baggage / seat / meal
flight / hotel / car / train
mean average / median
inner / outer / cross
list / dict / tuple
prefix / suffix
horizontal / vertical
buy / sell
north / south / east / west
up / down
inside / outside
same / different
full / partial / empty
long / short
fast quick / slow
even / odd
positive / negative
true / false
near / far
temporary / permanent
single / double / triple
upper / lower
source / target
begin start / end stop finish
red / green / blue / black / white / yellow / grey
"""
"""Each line is a choice; its sides, split by slashes, exclude each other. Words of a side say the same."""


_COUNTED = """
two=2 three=3 four=4 five=5 six=6 seven=7 eight=8 nine=9 ten=10 eleven=11 twelve=12 thirteen=13 fourteen=14 fifteen=15
sixteen=16 seventeen=17 eighteen=18 nineteen=19 twenty=20 thirty=30 forty=40 fifty=50 sixty=60 seventy=70 eighty=80
ninety=90 hundred=100 thousand=1000 million=1000000 zero=0 twice=2 thrice=3 half=0.5 dozen=12
"""
"""Number words; "one" is left out, as in "the old one"."""

_MEASURES = """
% percent
$ dollar dollars usd
€ euro euros eur
£ pound pounds gbp
yen jpy
inr rupee rupees
cent cents
ms millisecond milliseconds
second seconds s sec secs
minute minutes min mins
hour hours h hr hrs
day days
week weeks
month months
year years
kb kilobyte kilobytes
mb megabyte megabytes
gb gigabyte gigabytes
kg kilo kilos kilogram kilograms
lb lbs
km kilometer kilometers kilometre kilometres
mile miles
point points
token tokens
am
pm
"""
"""Each line is one unit."""


@lru_cache(maxsize=2**16)
def stem(word: str) -> str:
    """Return a lower-case word without its inflection: `cancelling`, `cancelled` and `cancellation` are `cancel`."""
    if word in IRREGULAR:
        word = IRREGULAR[word]
        if word in IRREGULAR:
            return word
    for ending, rest in _ENDINGS:
        word = ending.sub(rest, word)
    if len(word) > 4 and word[-1] == word[-2] and word[-1] != "s":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] == "e" else word


IRREGULAR = {word: base for word, _, base in (pair.partition("=") for pair in _IRREGULAR.split())}
NUMBERS = {word: value for word, _, value in (pair.partition("=") for pair in _COUNTED.split())}
UNITS = {word: line.split()[0] for line in _MEASURES.strip().splitlines() for word in line.split()}
STOP = frozenset(_STOP.split())


def _tables() -> tuple[dict[str, str], dict[str, tuple[int, int]]]:
    meaning: dict[str, str] = {}
    sides: dict[str, tuple[int, int]] = {}
    for line in _SAME.strip().splitlines():
        words = [stem(word) for word in line.split()]
        for word in words:
            meaning.setdefault(word, words[0])
    for row, line in enumerate(_EXCLUSIVE.strip().splitlines()):
        for column, side in enumerate(line.split("/")):
            for word in map(stem, side.split()):
                sides.setdefault(word, (row, column))
    return meaning, sides


MEANING, SIDES = _tables()
"""Stem -> the stem that stands for its meaning; stem -> (choice, side)."""
