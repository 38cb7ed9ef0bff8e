"""JPEGs of a stream of the type multipart/x-mixed-replace, as cameras send it rather than as RFC 2046 defines it.

It accepts boundaries in quotes, with any number of dashes or none, and boundaries that differ from the header; lines
that end in CRLF or LF; parts with a right, a wrong or no Content-Length; and parts of other types, which are skipped.
Not here: HTTP, decoding.
"""

from __future__ import annotations

import re

from edge_app.sources._jpeg import JpegScanner

_MAX_HEADER = 8192  # bytes of a part's header
_MAX_BOUNDARY = 200
_MAX_DASHES = 80
_IMAGES = (b"image/jp", b"image/pjpeg", b"application/octet-stream")
_PARAMETER = re.compile(r'boundary\s*=\s*(?:"([^"]*)"|([^";]*))', re.IGNORECASE)
_FIRST_LINE = re.compile(rb"[\r\n]*([^\r\n]+)\r?\n")
_LINE_END = re.compile(rb"(--)?[ \t]*\r?\n")
_HEADER_END = re.compile(rb"\r?\n[ \t]*\r?\n")


class MultipartError(ValueError):
    """The stream breaks a limit. The text names what was found and what was expected."""


def image_too_large(max_bytes: int) -> str:
    return f"found an image of more than {max_bytes} bytes; expected at most max_bytes"


class JpegStream:
    """Takes the bytes of a stream and finds complete JPEGs. image: the last one; the next one overwrites it.

    content_type: the header. max_bytes: of one JPEG. dropped: number of incomplete JPEGs so far. ended: the stream has
    sent its last boundary.
    """

    def __init__(self, content_type: str, max_bytes: int) -> None:
        declared = _PARAMETER.search(content_type)
        name = "" if declared is None else declared[1] or declared[2]
        self._boundary = name.encode("latin-1", "replace").strip().lstrip(b"-")[:_MAX_BOUNDARY]
        self._knows_boundary = False  # the first line of the stream is right if the header is not
        self._dashed: bool | None = None  # whether boundaries start with dashes, as the first one does
        self._max_bytes = max_bytes
        self.image = bytearray()
        self.dropped = 0
        self.ended = False
        self._buffer = bytearray()
        self._in_body = False
        # The part that is being read. Its body starts the buffer.
        self._scanner: JpegScanner | None = None  # None: not an image
        self._length: int | None = None
        self._searched = 0  # no boundary starts before this index

    def feed(self, data: bytes) -> None:
        if not self.ended:
            self._buffer += data

    def next_image(self) -> bool:
        """Move the next JPEG to `image`. False if it needs more data. Raises MultipartError."""
        while not self.ended:
            if not self._in_body and not self._begin_part():
                return False
            end = self._end_of_image()
            if end is not None:
                assert self._scanner is not None
                with memoryview(self._buffer) as view:
                    self.image[:] = view[self._scanner.start : end]
                self._end_body(end)
                return True
            if self._in_body:
                return False
        return False

    def _end_of_image(self) -> int | None:
        """The index after the JPEG of this part. None if it needs more data, or the part has ended without one."""
        scanner, length = self._scanner, self._length
        if scanner is not None and length is not None and len(self._buffer) < length:
            return None
        end = None if scanner is None else scanner.find_end(self._buffer)
        if end is not None and length is not None and end <= length:
            return end
        boundary = self._find_boundary(end)
        if boundary is not None:
            self.dropped += scanner is not None
            self._end_body(boundary)
            return None
        if scanner is None:
            self._trim()
        elif end is None and len(self._buffer) > self._max_bytes:
            raise MultipartError(image_too_large(self._max_bytes))
        return end

    def _begin_part(self) -> bool:
        """Read the next boundary and the header after it. False if they need more data."""
        if not self._knows_boundary and not self._learn_boundary():
            return False
        start = self._find_boundary(None)
        if start is None:
            self._trim()
            return False
        name = self._buffer.index(self._boundary, start)
        if self._dashed is None:
            self._dashed = name - start >= 2
        line_end = _LINE_END.match(self._buffer, name + len(self._boundary))
        assert line_end is not None
        if line_end[1]:
            self.ended = True
            return False
        first = line_end.end() - 1  # the newline: the header may be empty
        header_end = _HEADER_END.search(self._buffer, max(start, first - 1))
        if header_end is None:
            if len(self._buffer) - first > _MAX_HEADER:
                raise MultipartError(f"found the header of a part with more than {_MAX_HEADER} bytes")
            self._searched = start
            return False
        self._read_header(bytes(self._buffer[first : header_end.start()]))
        self._delete(header_end.end())
        self._in_body = True
        return True

    def _read_header(self, header: bytes) -> None:
        fields = dict[bytes, bytes]()
        for line in header.splitlines():
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip()
        type_ = fields.get(b"content-type", b"image/jpeg").lower()
        length = fields.get(b"content-length", b"")
        self._length = int(length) if length.isdigit() and len(length) < 20 else None
        self._scanner = JpegScanner() if type_.startswith(_IMAGES) else None
        if self._scanner is not None and self._length is not None and self._length > self._max_bytes:
            raise MultipartError(
                f"found an image of {self._length} bytes; expected at most max_bytes ({self._max_bytes})"
            )

    def _learn_boundary(self) -> bool:
        """Use the boundary in the first line if it differs from the header. False if the line needs more data."""
        line = _FIRST_LINE.match(self._buffer, 0, 2 * _MAX_BOUNDARY)
        if line is None and len(self._buffer) < 2 * _MAX_BOUNDARY:
            return False
        if line is not None and line[1].startswith(b"--"):
            name = line[1].strip().lstrip(b"-")
            if name != self._boundary + b"--":
                self._boundary = name or self._boundary
        if not self._boundary:
            raise MultipartError("found no boundary between the images; expected one in the header Content-Type")
        self._knows_boundary = True
        return True

    def _find_boundary(self, end: int | None) -> int | None:
        """The index of the next boundary line before `end`, dashes included; None if there is none."""
        buffer, boundary = self._buffer, self._boundary
        limit = len(buffer) if end is None else end
        at = buffer.find(boundary, self._searched, limit)
        while at >= 0:
            start = at
            while start > max(0, at - _MAX_DASHES) and buffer[start - 1] == 0x2D:  # a dash
                start -= 1
            if _LINE_END.match(buffer, at + len(boundary)) and self._starts_line(start, at):
                return start
            at = buffer.find(boundary, at + 1, limit)
        if end is None:  # what follows may complete a boundary that is cut, or its line
            self._searched = max(self._searched, len(buffer) - len(boundary) - _MAX_BOUNDARY)
        return None

    def _starts_line(self, start: int, name: int) -> bool:
        """Whether a boundary may start here. In a JPEG, a short name may occur by chance."""
        if self._dashed:
            return name - start >= 2
        return not self._in_body or (start > 0 and self._buffer[start - 1] == 0x0A)

    def _end_body(self, index: int) -> None:
        self._in_body = False
        self._delete(index)

    def _trim(self) -> None:
        """Forget what was searched and is no image."""
        self._delete(max(0, self._searched - _MAX_DASHES))

    def _delete(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = 0
