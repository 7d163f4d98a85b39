"""A container's health check: exits with 0 when the address given answers 200."""

import sys
import urllib.error
import urllib.request

TIMEOUT_S = 4.0


def main() -> int:
    """Asks once."""
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=TIMEOUT_S) as answer:
            return 0 if answer.status == 200 else 1
    except (OSError, urllib.error.URLError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
