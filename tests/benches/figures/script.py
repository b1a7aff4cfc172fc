"""Reads the objects of a query page by page and copies them into a table, as scripts for Assets do it.

script.py BASE_URL EMAIL TOKEN AQL DATABASE
"""

import base64
import http.client
import json
import subprocess
import sys
from urllib.parse import urlencode, urlsplit

base, email, token, aql, database = sys.argv[1:]
url = urlsplit(base)
connection = (http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection)(url.netloc)
headers = {
    "Authorization": "Basic " + base64.b64encode(f"{email}:{token}".encode()).decode(),
    "Content-Type": "application/json",
}
objects = []
while True:
    query = urlencode({"startAt": len(objects), "maxResults": 100, "includeAttributes": "true"})
    body = json.dumps({"qlQuery": aql})
    connection.request("POST", f"{url.path}/object/aql?{query}", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        sys.exit(f"{answer.status}: {text[:200]}")
    page = json.loads(text)
    objects += page["values"]
    if page["isLast"] or not page["values"]:
        break


def field(text):
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


lines = "".join(f"{o['objectKey']}\t{field(json.dumps(o['attributes']))}\n" for o in objects)
copy = ["psql", "-X", "-q", "-d", database, "-c", "COPY pages FROM STDIN"]
subprocess.run(copy, input=lines.encode(), check=True)
