"""The page's requests that change something: commands, Save and Undo. All need `web.commands: true` and the token.

All bodies and answers are JSON of at most 64 KiB; a session cookie or `Authorization: Bearer TOKEN` is needed, as for
every other request. One save or undo runs at a time. Errors are lines `where: found; expected`, one for each mistake.

`GET /api/config`: what can be edited now, config.yaml with overrides.yaml over it:

    {"version": "<hash>", "commands": true, "stored_in": "config.yaml" or "overrides.yaml", "undo": 2,
     "camera": "<source.name>", "labels": {"<head>": ["person", …]},
     "rules": {"<rule>": {"type": "zone", "polygon": [[x, y], …], …}}, "rule_types": ["count", "line", …],
     "heads": {"<head>": {"score": 0.4, "labels": [], "ignore": [], …}}, "mask": [[[x, y], …]], "schedule": [],
     "commands_seen": {"heads": {"<head>": true}, "rules": {"<rule>": false}, "scores": {"<head>": 0.4}, "muted_s": 0}}

  `rules` and `heads` have the options as written in the file (defaults are left out, except the `score` of a head);
  `commands_seen` has what is in effect now. Without `web.commands` the answer has `"commands": false`, and the page
  shows no button to save. `undo`: how many changes can be undone.

`POST /api/save`: `{"version": "<hash>", "changes": {…}}`. `changes` is a JSON merge patch (RFC 7396) of `rules`,
`heads`, `mask` and `schedule` as above: what is missing stays, `null` removes a rule or an option, a list is replaced
as a whole. A rule of a new name is appended and needs its `type`. Example:

    {"version": "1f…", "changes": {"rules": {"plaza": {"type": "zone", "polygon": [[0.1, 0.1], [0.5, 0.1], [0.5, 0.9]],
                                             "head": "objects"}, "old": null},
                                   "heads": {"objects": {"score": 0.5, "labels": ["person"], "max_area": null}},
                                   "mask": [[[0, 0], [0.2, 0], [0.2, 0.2]]]}}

  200 `{"version": "<new hash>", "stored_in": "config.yaml", "undo": 3}`: written; the daemon applies it at the next
  frame. 409 `{"error": "…", "version": "<current hash>", "config": {as GET /api/config}}`: the file was edited since
  `version` was read, nothing was written. 422 `{"errors": ["rules.plaza.polygon: found …; expected …", …]}`: nothing
  was written. 507 `{"error": "…"}`: the disk is full or read-only, nothing was written.

`POST /api/undo`: `{"version": "<hash>"}`. Takes back the latest saved change, at most five of them, until the daemon
  stops. Answers as save; 404 if there is nothing to undo.

`POST /api/set/<what>`: one command. what: `heads/<name>`, `rules/<name>`, `reuse` (ON or OFF), `heads/<name>/score`
(0 to 1), `precision` (float, int8), `mute` (minutes; 0 ends it), `snapshot`, `reload`, `restart` (no value). Body:
empty, plain text, or `{"value": …, "id": "…", "persist": true}`.

  200 `{"id": "…", "command": "rules/plaza", "ok": true, "error": null}`; 400, 404 (no such rule), 409 (cannot be done
  now) with `"ok": false` and `error`. 429: more than 10 in a second. 503: the daemon did not answer in 3 s.

403: `web.commands` is off. 413: the body is over 64 KiB. 415: a body that is not JSON. Not here: executing (commands/).
"""
