// Shows /openapi.json to a person. Everything is set as text, nothing as markup.
"use strict";

const byId = (id) => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

// A schema with what it refers to put in its place, and one level of "or null" taken off.
function resolve(schema, api) {
  if (schema && schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return { ...api.components.schemas[name], ...schema, $ref: undefined };
  }
  const choices = (schema && schema.anyOf || []).filter((each) => each.type !== "null");
  if (choices.length === 1) return { ...resolve(choices[0], api), ...schema, anyOf: undefined };
  return schema || {};
}

function kindOf(schema, api) {
  const plain = resolve(schema, api);
  if (plain.const !== undefined) return JSON.stringify(plain.const);
  if (plain.enum) return plain.enum.join(" | ");
  if (plain.oneOf) return plain.oneOf.map((each) => kindOf(each, api)).join(" | ");
  const types = [].concat(plain.type || "any").filter((each) => each !== "null");
  if (types[0] === "array") return `list of ${kindOf(plain.items, api)}`;
  const least = plain.minimum, most = plain.maximum;
  if (least !== undefined && most !== undefined) return `${types[0]}, ${least} to ${most}`;
  if (least !== undefined) return `${types[0]}, at least ${least}`;
  return types.join(" | ");
}

// The fields that must be given; where one of several names will do, the first.
function requiredOf(schema) {
  const choices = (schema.allOf || []).flatMap((each) => each.oneOf ? each.oneOf[0].required : []);
  return [...(schema.required || []), ...choices];
}

// Query parameters that depend on each other stand in the document as the fields of one.
function parametersOf(operation) {
  return (operation.parameters || []).flatMap((each) => each.explode
    ? Object.entries(each.schema.properties).map(([name, schema]) => (
      { name, in: each.in, schema, description: schema.description, required: requiredOf(each.schema).includes(name) }))
    : [each]);
}

function fieldTable(schema, api, depth) {
  const plain = resolve(schema, api);
  const inner = plain.type === "array" ? resolve(plain.items, api) : plain;
  const table = element("table");
  for (const [name, field] of Object.entries(inner.properties || {})) {
    const required = requiredOf(inner).includes(name);
    const what = resolve(field, api);
    const words = element("td", { textContent: what.description || "" });
    const within = resolve(what.type === "array" ? what.items : what, api);
    if (within.properties && depth < 3) {
      words.append(element("details", {}, element("summary", { textContent: "fields" }),
        fieldTable(within, api, depth + 1)));
    }
    table.append(element("tr", {}, element("td", { textContent: name }),
      element("td", { textContent: kindOf(field, api) + (required ? "" : ", optional") }), words));
  }
  return table;
}

function exampleOf(schema, api) {
  const plain = resolve(schema, api);
  const examples = { vm_id: 104, new_vm_id: 105, cores: 4, cpulimit: 1.5, memory: 4096, disk_size: 2, minutes: 60,
    snapshot_name: "my_snapshot", new_vm_name: "cloned_container", to: "original", keep: 3 };
  const body = {};
  for (const [name, field] of Object.entries(plain.properties || {})) {
    if (!requiredOf(plain).includes(name)) continue;
    body[name] = name in examples ? examples[name] : resolve(field, api).type === "string" ? "…" : 1;
  }
  return JSON.stringify(body);
}

function curlOf(path, method, operation, api) {
  const query = parametersOf(operation).filter((each) => each.in === "query" && each.required)
    .map((each) => `${each.name}=${each.name === "vm_id" ? 104 : "…"}`).join("&");
  const address = `"${location.origin}${path}${query ? "?" + query : ""}"`;
  const body = operation.requestBody;
  const parts = ["curl", method === "get" ? "" : `-X ${method.toUpperCase()}`, address].filter(Boolean);
  if (body) parts.push(`-H "Content-Type: application/json" \\\n     -d '${exampleOf(body.content["application/json"].schema, api)}'`);
  return parts.join(" ");
}

function answersOf(operation, api) {
  const parts = [];
  for (const [status, response] of Object.entries(operation.responses)) {
    const [media, content] = Object.entries(response.content || {})[0] || [];
    const schema = content ? content.schema : {};
    const fields = schema.properties || (schema.allOf && schema.allOf[1].properties);
    if (fields && fields.code) {
      parts.push(element("tr", {}, element("td", { textContent: status }),
        element("td", { textContent: response.description }),
        element("td", { className: "codes", textContent: fields.code.enum.join(" ") })));
      continue;
    }
    const words = element("td");
    if (fields && fields.data) words.append(fieldTable(fields.data, api, 0));
    else words.append(media || "");
    parts.push(element("tr", {}, element("td", { textContent: status }),
      element("td", { textContent: response.description }), words));
  }
  return element("table", {}, ...parts);
}

function routeOf(path, method, operation, api) {
  const room = element("section", { id: operation.operationId });
  room.append(element("h3", {}, element("span", { className: `method ${method}`, textContent: method.toUpperCase() }),
    path, element("span", { className: "role", textContent: operation["x-role"] })));
  room.append(element("p", { textContent: operation.summary }));
  const parameters = parametersOf(operation);
  if (parameters.length) {
    const table = element("table");
    for (const each of parameters) {
      table.append(element("tr", {}, element("td", { textContent: each.name }),
        element("td", { textContent: `${kindOf(each.schema, api)}, ${each.in}${each.required ? "" : ", optional"}` }),
        element("td", { textContent: each.description || "" })));
    }
    room.append(element("h4", { textContent: "Parameters" }), table);
  }
  if (operation.requestBody) {
    room.append(element("h4", { textContent: "Body" }),
      fieldTable(operation.requestBody.content["application/json"].schema, api, 0));
  }
  room.append(element("h4", { textContent: "Call" }), element("pre", { textContent: curlOf(path, method, operation, api) }));
  room.append(element("details", {}, element("summary", { textContent: "Answers" }), answersOf(operation, api)));
  room.dataset.words = `${method} ${path} ${operation["x-role"]} ${operation.summary}`.toLowerCase();
  return room;
}

function show(api) {
  byId("title").textContent = `${api.info.title} ${api.info.version}: REST API`;
  byId("introduction").textContent = api.info.description.replaceAll("`", "");
  const rooms = [], groups = new Map();
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const room = routeOf(path, method, operation, api);
      const link = element("a", { href: `#${operation.operationId}` },
        element("span", { className: `method ${method}`, textContent: method.toUpperCase() }), path);
      link.dataset.words = room.dataset.words;
      rooms.push(room);
      const tag = operation.tags[0];
      groups.set(tag, [...(groups.get(tag) || [element("h2", { textContent: tag })]), link]);
    }
  }
  byId("routes").replaceChildren(...rooms);
  byId("index").replaceChildren(...[...groups.values()].map((links) => element("div", {}, ...links)));
  byId("search").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const each of document.querySelectorAll("[data-words]")) {
      each.hidden = !words.every((word) => each.dataset.words.includes(word));
    }
    for (const group of byId("index").children) group.hidden = !group.querySelector("a:not([hidden])");
  });
  if (location.hash) document.querySelector(`[id="${CSS.escape(location.hash.slice(1))}"]`)?.scrollIntoView();
}

fetch("/openapi.json").then((answer) => answer.json().then((api) => {
  if (!answer.ok) throw new Error(api.message);
  show(api);
})).catch((error) => {
  byId("routes").replaceChildren(element("p", { textContent: `The document cannot be shown: ${error.message}` }));
});
