"""Codes as data: countries of ISO 3166-1 alpha-2, and currencies of ISO 4217 with their minor digits."""

from __future__ import annotations

from typing import Final

COUNTRIES: Final = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT
    JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY
    QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()
)

COUNTRY_HINTS: Final = {"UK": "GB", "EL": "GR", "EU": "each country's own code"}
"""Codes that people write and that ISO 3166-1 does not have, with what they mean."""

_TWO_DIGITS: Final = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC
    CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD
    KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO
    NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL
    THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
    """
_NO_DIGITS: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE_DIGITS: Final = "BHD IQD JOD KWD LYD OMR TND"

EXPONENTS: Final[dict[str, int]] = {
    **dict.fromkeys(_TWO_DIGITS.split(), 2),
    **dict.fromkeys(_NO_DIGITS.split(), 0),
    **dict.fromkeys(_THREE_DIGITS.split(), 3),
}
"""ISO 4217 code -> digits after the point."""

_COUNTRIES_OF: Final = {
    "AOA": "AO", "AUD": "AU", "BIF": "BI", "BRL": "BR", "BWP": "BW", "CAD": "CA", "CDF": "CD", "CHF": "CH", "CNY": "CN",
    "CVE": "CV", "DJF": "DJ", "DKK": "DK", "DZD": "DZ", "EGP": "EG", "ERN": "ER", "ETB": "ET",
    "EUR": "AT BE BG CY DE EE ES FI FR GR HR IE IT LT LU LV MT NL PT SI SK", "GBP": "GB", "GHS": "GH", "GMD": "GM",
    "GNF": "GN", "INR": "IN", "JPY": "JP", "KES": "KE", "KMF": "KM", "LRD": "LR", "LSL": "LS", "LYD": "LY",
    "MAD": "EH MA", "MGA": "MG", "MRU": "MR", "MUR": "MU", "MWK": "MW", "MZN": "MZ", "NAD": "NA", "NGN": "NG",
    "NOK": "NO", "PLN": "PL", "RWF": "RW", "SAR": "SA", "SCR": "SC", "SDG": "SD", "SEK": "SE", "SGD": "SG",
    "SLE": "SL", "SOS": "SO", "SSP": "SS", "STN": "ST", "SZL": "SZ", "TND": "TN", "TRY": "TR", "TZS": "TZ",
    "UGX": "UG", "USD": "US", "AED": "AE", "XAF": "CF CG CM GA GQ TD", "XOF": "BF BJ CI GW ML NE SN TG", "ZAR": "ZA",
    "ZMW": "ZM", "ZWG": "ZW",
}  # fmt: skip
CURRENCIES: Final = {
    country: currency for currency, countries in _COUNTRIES_OF.items() for country in countries.split()
}
"""ISO 3166-1 code -> ISO 4217 code of the money that a price list there is written in; not every country is here."""
