"""A report's figures, its page, and what is packed into it."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser

from jobs.report.load import load_runs
from jobs.report.summary import summarise
from tests.support.sample_runs import write_run

HOSTILE = (
    "</script><img src=x onerror=alert(1)>\0 \u202egnp.exe\u2066 {{main}} 🙂 \x1b[31m ]]> <!--"
)


class Page(HTMLParser):
    """What matters about a page's markup."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.tags, self.urls, self.open, self.text = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.urls += [v for n, v in attrs if n in ("src", "href", "srcset", "action", "data")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("meta", "img", "br", "link", "input"):
            self.open.append(tag)
        if tag == "img":
            assert found["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def checked(path):
    """The page in a file, which must be whole, and refer to nothing outside."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(url.startswith(("#", "data:image/svg+xml;base64,")) for url in page.urls)
    targets = {url[1:] for url in page.urls if url.startswith("#")}
    assert targets <= set(page.ids)
    assert not re.search(r"@import|url\(|<link|<iframe|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text
    return text, page


def unpacked(text):
    """The data of all problem pages."""
    blobs = re.findall(r'<script type="application/octet-stream">([A-Za-z0-9+/=]+)</script>', text)
    return [json.loads(gzip.decompress(base64.b64decode(blob))) for blob in blobs]


def scenarios_of(folder, rows):
    """The scenarios of a run with these outcomes."""
    return summarise(load_runs([write_run(folder, rows)]))
