"""HTML pages as tests read them: every element with its attributes and its text, and whether all of them are closed."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Element:
    """An element: its name, attributes, text (of what is in it as well), and the elements in it."""

    def __init__(self, name, attributes, parent):
        self.name, self.attributes, self.parent = name, dict(attributes), parent
        self.children, self.text = [], ""

    def all(self, name=None, **attributes):
        """List what is in the element, of a name and with these attributes; ``class_`` is one of its classes."""
        wanted = dict(attributes)
        of_class = wanted.pop("class_", None)
        found = []
        for child in self.children:
            has_class = of_class is None or of_class in child.attributes.get("class", "").split()
            if name in (None, child.name) and has_class and wanted.items() <= child.attributes.items():
                found.append(child)
            found += child.all(name, **attributes)
        return found

    def one(self, name=None, **attributes):
        [found] = self.all(name, **attributes)
        return found


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = self.current = Element("", {}, None)

    def handle_starttag(self, name, attributes):
        element = Element(name, attributes, self.current)
        self.current.children.append(element)
        if name not in VOID:
            self.current = element

    def handle_startendtag(self, name, attributes):
        self.current.children.append(Element(name, attributes, self.current))

    def handle_endtag(self, name):
        assert name == self.current.name, f"</{name}> closes <{self.current.name}> {self.current.attributes}"
        self.current = self.current.parent

    def handle_data(self, data):
        element = self.current
        while element is not None:
            element.text += data
            element = element.parent


def read_page(text):
    """Parse a page; an element that is not closed, or closed by another's end, fails."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.current is reader.root, f"<{reader.current.name}> is not closed"
    return reader.root


def cells(table):
    """Return the rows of a table's body as texts."""
    return [[cell.text for cell in row.children] for row in table.one("tbody").all("tr")]
