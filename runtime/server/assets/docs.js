// The page at /docs: the OpenAPI document as a list of routes, each with a form to try it. Texts are set as text, never as HTML.
"use strict";

const make = (name, text, ...children) => {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
};

// A $ref of this document, followed once.
const follow = (api, schema) => {
  if (!schema || !schema.$ref) return schema;
  return schema.$ref.slice(2).split("/").reduce((at, key) => at && at[key], api);
};

// What a schema looks like, as an example of it.
const example = (api, schema, depth = 0) => {
  schema = follow(api, schema) || {};
  if (schema.example !== undefined) return schema.example;
  const some = schema.oneOf || schema.allOf || schema.anyOf;
  if (some) return example(api, some[some.length - 1], depth + 1);
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (type === "object" && depth < 6) {
    const all = Object.entries(schema.properties || {});
    const required = schema.required || [];
    return Object.fromEntries(all.filter(([key]) => required.includes(key) || depth > 0)
      .map(([key, value]) => [key, example(api, value, depth + 1)]));
  }
  return { array: [], string: "", integer: 1, number: 1, boolean: false, object: {} }[type] ?? {};
};

const parameters = (operation) => {
  const table = make("table", "", make("tr", "", ...["parameter", "in", "what", "value"].map((text) => make("th", text))));
  const inputs = new Map();
  for (const parameter of operation.parameters || []) {
    const input = make("input");
    inputs.set(parameter, input);
    const name = parameter.name + (parameter.required ? " *" : "");
    table.append(make("tr", "", make("td", name), make("td", parameter.in), make("td", parameter.description || ""),
      make("td", "", input)));
  }
  return { table, inputs };
};

const headers = (body) => {
  const value = (id) => document.getElementById(id).value.trim();
  return Object.fromEntries([
    ["authorization", value("token") && `Bearer ${value("token")}`],
    ["x-tenant", value("tenant")],
    ["content-type", body !== null && "application/json"],
  ].filter(([, text]) => text));
};

const attempt = async (method, path, inputs, body, shown) => {
  const query = new URLSearchParams();
  for (const [parameter, input] of inputs) {
    if (!input.value) continue;
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    if (parameter.in === "query") query.set(parameter.name, input.value);
  }
  const url = query.size ? `${path}?${query}` : path;
  shown.textContent = `${method.toUpperCase()} ${url} …`;
  try {
    const answer = await fetch(url, { method, headers: headers(body), body });
    const text = await answer.text();
    let pretty = text;
    try { pretty = JSON.stringify(JSON.parse(text), null, 2); } catch { /* a stream, or metrics */ }
    shown.textContent = `${answer.status} ${answer.statusText}\n${pretty}`;
  } catch (error) {
    shown.textContent = String(error);
  }
};

const route = (api, method, path, operation) => {
  const title = make("summary", "", make("b", method.toUpperCase()), make("code", path), make("span", operation.summary || ""));
  const details = make("details", "", title);
  details.dataset.text = `${method} ${path} ${operation.summary || ""}`.toLowerCase();
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    const { table, inputs } = parameters(operation);
    if (operation.description) details.append(make("p", operation.description));
    if (inputs.size) details.append(table);
    const content = operation.requestBody && operation.requestBody.content["application/json"];
    const body = content ? make("textarea") : null;
    if (body) {
      body.rows = 8;
      body.value = JSON.stringify(example(api, content.schema), null, 2);
      details.append(make("p", "Body"), body);
    }
    const button = make("button", "Send");
    const shown = make("pre", "");
    button.addEventListener("click", () => attempt(method, path, inputs, body && body.value, shown));
    const answers = Object.entries(operation.responses || {}).map(([status, answer]) => `${status}: ${answer.description}`);
    details.append(make("p", answers.join(" · ")), make("p", "", button), shown);
  }, { passive: true });
  return details;
};

const show = (api) => {
  const main = document.getElementById("routes");
  main.replaceChildren();
  document.getElementById("about").textContent = `${api.info.description || ""} Version ${api.info.version}.`;
  const sections = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of ["get", "post", "put", "delete"]) {
      if (!item[method]) continue;
      const tag = (item[method].tags || ["other"])[0];
      if (!sections.has(tag)) sections.set(tag, make("section", "", make("h2", tag)));
      sections.get(tag).append(route(api, method, path, item[method]));
    }
  }
  main.append(...sections.values());
};

document.getElementById("find").addEventListener("input", (event) => {
  const text = event.target.value.toLowerCase();
  for (const details of document.querySelectorAll("details")) details.hidden = !details.dataset.text.includes(text);
});

fetch("/api/v1/openapi.json").then((answer) => answer.json()).then(show).catch((error) => {
  document.getElementById("routes").replaceChildren(make("p", `The document could not be read: ${error}`));
});
