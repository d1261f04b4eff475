"use strict";
// Shows the server's own openapi.json. All text goes in as text, never as markup.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function resolve(schema, api) {
  return schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema ?? {};
}

// Object schemas within a schema, with a name for each: the body itself, choices, and items of arrays.
function* objects(schema, api, name) {
  const found = resolve(schema, api);
  if (schema?.$ref) name = schema.$ref.split("/").pop();
  if (found.properties) yield [name, found];
  for (const choice of found.anyOf ?? []) yield* objects(choice, api, name);
  for (const property of Object.values(found.properties ?? {}))
    if (property.items) yield* objects(property.items, api, name);
}

function typeOf(schema, api) {
  const { anyOf, const: only, enum: labels, items, type } = resolve(schema, api);
  if (only !== undefined) return JSON.stringify(only);
  if (labels) return labels.map((label) => JSON.stringify(label)).join(" | ");
  if (anyOf) return anyOf.map((choice) => typeOf(choice, api)).join(" or ");
  if (items) return `array of ${schema.items.$ref?.split("/").pop() ?? typeOf(items, api)}`;
  return [type ?? "any"].flat().join(" or ");
}

function rangeOf(schema) {
  const { minimum: low, maximum: high } = schema.anyOf?.find((choice) => choice.type !== "null") ?? schema;
  const number = (value) => value.toLocaleString("en");
  const range = [low !== undefined && `from ${number(low)}`, high !== undefined && `to ${number(high)}`];
  return [...range, schema.unit].filter(Boolean).join(" ");
}

function fields(name, schema, api) {
  const rows = Object.entries(schema.properties).map(([field, property]) =>
    element("tr", {},
      element("td", {}, element("code", {}, field), schema.required?.includes(field) ? "" : " (optional)"),
      element("td", {}, typeOf(property, api)),
      element("td", {}, rangeOf(property)),
      element("td", {}, [property.title, property.description].filter(Boolean).join(": "))));
  const head = element("tr", {}, ...["field", "type", "range", "meaning"].map((text) => element("th", {}, text)));
  return [element("h3", {}, name), element("table", {}, head, ...rows)];
}

async function show(answer, milliseconds, into) {
  const type = answer.headers.get("content-type") ?? "";
  const line = element("p", { class: answer.ok ? "muted" : "bad" }, `${answer.status} in ${milliseconds} ms`);
  if (type.startsWith("image/"))
    return into.replaceChildren(line, element("img", { src: URL.createObjectURL(await answer.blob()), alt: "answer" }));
  let text = await answer.text();
  if (type.startsWith("application/json")) text = JSON.stringify(JSON.parse(text), null, 2);
  into.replaceChildren(line, element("pre", {}, text));
}

function form(method, path, operation) {
  const body = operation.requestBody?.content["application/json"];
  const example = body ? JSON.stringify(body.example ?? {}, null, 2) : "";
  const text = element("textarea", { rows: Math.min(example.split("\n").length, 20), spellcheck: "false" }, example);
  const accepted = Object.keys(operation.responses["200"].content);
  const choice = element("select", {}, ...accepted.map((type) => element("option", {}, type)));
  const result = element("div");
  const button = element("button", {}, "Send");
  button.addEventListener("click", async () => {
    const started = performance.now();
    const headers = { accept: choice.value, ...(body && { "content-type": "application/json" }) };
    try {
      const answer = await fetch(`.${path}`, { method, headers, body: body ? text.value : undefined });
      await show(answer, Math.round(performance.now() - started), result);
    } catch (error) {
      result.replaceChildren(element("p", { class: "bad" }, String(error)));
    }
  });
  return [...(body ? [element("h3", {}, "Example"), text] : []), button, " ", accepted.length > 1 ? choice : "", result];
}

function card(method, path, operation, api) {
  const requested = operation.requestBody?.content["application/json"].schema;
  const answered = Object.values(operation.responses["200"].content)[0].schema;
  const parts = form(method, path, operation);
  const tables = new Map([...objects(requested, api, "Request"), ...objects(answered, api, "Answer")]);
  for (const [name, schema] of tables) parts.push(...fields(name, schema, api));
  const statuses = Object.entries(operation.responses).map(([status, { description }]) =>
    element("tr", {}, element("td", {}, element("code", {}, status)), element("td", {}, description)));
  parts.push(element("h3", {}, "Status"), element("table", {}, ...statuses));
  return element("details", {},
    element("summary", {}, element("b", { class: method }, method.toUpperCase()), element("code", {}, path),
      element("span", {}, operation.summary)),
    ...parts);
}

async function main() {
  const api = await (await fetch("openapi.json")).json();
  document.title = api.info.title;
  document.querySelector("h1").textContent = api.info.title;
  document.querySelector("header p").prepend(`Version ${api.info.version}. `);
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, operation] of Object.entries(methods)) {
      const [tag] = operation.tags;
      if (!groups.has(tag)) groups.set(tag, [element("h2", {}, tag)]);
      groups.get(tag).push(card(method, path, operation, api));
    }
  document.querySelector("main").replaceChildren(...[...groups.values()].flat());
  document.querySelector("details").open = true;
}

main().catch((error) => document.querySelector("main").replaceChildren(`The description cannot be shown: ${error}`));
