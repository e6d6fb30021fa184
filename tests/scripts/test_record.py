"""README and docs/theory.md tell of verdicts what the index tells: their parts are made of the same records."""

import pytest
import record

from ncbench.report.pages.index import read_tables, rewrite_block


@pytest.fixture(scope="module")
def tables():
    return read_tables(record.RESULTS, record.RESULTS)[0]


@pytest.mark.parametrize("page", record.PAGES, ids=lambda page: page.name)
def test_a_page_tells_the_same_story_as_the_index(page, tables, tmp_path):
    copy = tmp_path / page.name
    copy.write_text(page.read_text())
    rewrite_block(copy, record.PAGES[page], tables)
    assert copy.read_text() == page.read_text()
    assert any(table.paper.label in copy.read_text() for table in tables)


def test_another_verdict_is_another_page_and_a_page_without_a_place_for_it_is_refused(tables, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- verdicts: begin -->\nOUTDATED\n<!-- verdicts: end -->\nafter\n")
    rewrite_block(page, "verdicts.md.jinja", tables)
    text = page.read_text()
    assert text.startswith("before\n<!-- verdicts: begin -->\n")
    assert text.endswith("<!-- verdicts: end -->\nafter\n")
    assert "OUTDATED" not in text
    rewrite_block(page, "verdicts.md.jinja", [])
    assert page.read_text() != text
    page.write_text("no markers\n")
    with pytest.raises(ValueError, match=r"page\.md: the markers <!-- verdicts: begin --> and"):
        rewrite_block(page, "verdicts.md.jinja", tables)
