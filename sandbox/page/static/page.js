"use strict";
// Shows what the sandbox has got and acts as a chosen person, over the same REST calls a Mattermost client makes.

const KEPT = 200;
const state = {people: new Map(), entries: new Map(), dialogs: new Map(), teamId: "", chosen: "", sessions: new Map(), channels: new Map()};
const $ = (id) => document.getElementById(id);

function el(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function markdown(html, className) {
  const made = el("div", `md ${className || ""}`);
  made.innerHTML = html;  // written by our server, which escapes everything and adds only tags of its own
  return made;
}

function clock(ms) {
  return new Date(ms).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"});
}

function nameOf(id) {
  const person = state.people.get(id);
  return person ? person.name : "somebody";
}

function show(problem) {
  $("problem").hidden = !problem;
  $("problem").textContent = problem || "";
}

async function call(method, path, body, token) {
  const headers = {"Content-Type": "application/json"};
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, {method, headers, body: body === undefined ? undefined : JSON.stringify(body)});
  const text = await answer.text();
  let value = {};
  try { value = text ? JSON.parse(text) : {}; } catch { value = {message: text.slice(0, 200)}; }
  if (!answer.ok) throw new Error(value.message ? `${value.message} ${value.detailed_error || ""} (${answer.status})` : value.error || `status ${answer.status}`);
  return value;
}

async function tokenOf(userId) {
  if (!state.sessions.has(userId)) {
    const person = state.people.get(userId);
    state.sessions.set(userId, (await call("POST", "/_sandbox/sessions", {username: person.username})).token);
  }
  return state.sessions.get(userId);
}

async function act(userId, method, path, body) {
  show("");
  try {
    return await call(method, path, body, await tokenOf(userId));
  } catch (problem) {
    show(problem.message);
    throw problem;
  }
}

function bot() {
  return [...state.people.values()].find((person) => person.is_bot && person.username === "switchboard");
}

async function channelOf(userId) {
  if (!state.channels.has(userId)) {
    const made = await act(userId, "POST", "/api/v4/channels/direct", [userId, bot().id]);
    state.channels.set(userId, made.id);
  }
  return state.channels.get(userId);
}

// --- people ---

function face(person) {
  return el("span", `face ${person && person.is_bot ? "bot" : ""}`, person ? person.name.slice(0, 1).toUpperCase() : "?");
}

function personButton(id, person) {
  const item = el("li");
  const button = el("button", "person");
  button.type = "button";
  button.setAttribute("aria-pressed", String(state.chosen === id));
  const first = face(person);
  first.setAttribute("aria-hidden", "true");
  button.append(first, el("span", "name", person ? person.name : "Everyone"));
  let below = person ? `@${person.username}${person.is_bot ? " · bot" : ` · ${person.locale}`}` : "all conversations";
  if (person && person.deactivated) below += " · deactivated";
  if (person && isShown(person.custom_status)) below = `${person.custom_status.picture} ${person.custom_status.text}${endOf(person.custom_status)}`;
  button.append(el("span", "sub", below));
  button.addEventListener("click", () => choose(id));
  item.append(button);
  return item;
}

// The server keeps a status that is over; clients no longer show it.
function isShown(status) {
  return Boolean(status) && (!hasEnd(status) || new Date(status.expires_at) > new Date());
}

function hasEnd(status) {
  return Boolean(status.expires_at) && !status.expires_at.startsWith("0001-");
}

function endOf(status) {
  return hasEnd(status) ? ` · until ${clock(Date.parse(status.expires_at))}` : "";
}

setInterval(() => { if ([...state.people.values()].some((person) => person.custom_status)) drawPeople(); }, 5000);

function drawPeople() {
  const list = $("people");
  const focused = list.contains(document.activeElement) ? [...list.querySelectorAll("button")].indexOf(document.activeElement) : -1;
  const people = [...state.people.values()].filter((person) => person.username !== "admin").slice(0, 60);
  list.replaceChildren(personButton("", null), ...people.map((person) => personButton(person.id, person)));
  list.querySelector(".face").textContent = "∗";
  if (focused >= 0) list.querySelectorAll("button")[focused]?.focus();
}

function choose(id) {
  state.chosen = id;
  const person = state.people.get(id);
  $("talk-title").textContent = person ? `${person.name}` : "Everything that arrived";
  $("talk-note").textContent = person && !person.is_bot ? "You act as this person: write, click buttons, fill in dialogs" : "";
  $("composer").hidden = !person || person.is_bot;
  $("own-status").hidden = $("composer").hidden;
  $("message-label").textContent = person ? `As ${person.name}, to Switchboard` : "Message";
  const option = person && [...$("meeting-user").options].find((one) => one.value === person.username);
  if (option) { $("meeting-user").value = person.username; loadMeetings(); }
  show("");
  drawPeople();
  drawFeed();
  openNextDialog();
}

// --- the feed ---

function concerns(entry, id) {
  return !id || entry.sender_id === id || entry.only_for === id || (!entry.only_for && entry.member_ids.includes(id));
}

function actor(entry) {
  const chosen = state.people.get(state.chosen);
  if (chosen && !chosen.is_bot) return chosen.id;
  if (entry.only_for) return entry.only_for;
  return entry.member_ids.find((id) => state.people.get(id) && !state.people.get(id).is_bot);
}

async function press(entry, action, button, selected) {
  button.disabled = true;
  const body = {};
  if (selected) body.selected_option = selected;
  if (action.cookie) body.cookie = action.cookie;
  await act(actor(entry), "POST", `/api/v4/posts/${entry.id}/actions/${action.id}`, body).catch(() => {});
  button.disabled = false;
}

function actionControl(entry, action) {
  if (action.type !== "select") {
    const button = el("button", ["primary", "good", "success", "danger"].includes(action.style) ? action.style : "", action.name);
    button.type = "button";
    button.addEventListener("click", () => press(entry, action, button));
    return button;
  }
  const select = el("select");
  select.setAttribute("aria-label", action.name);
  select.append(new Option(action.name, ""), ...action.options.map((one) => new Option(one.text, one.value)));
  select.addEventListener("change", () => select.value && press(entry, action, select, select.value));
  return select;
}

function attachmentBlock(entry, attachment) {
  const block = el("div", `attachment ${["good", "danger"].includes(attachment.color) ? attachment.color : ""}`);
  if (attachment.pretext_html) block.append(markdown(attachment.pretext_html));
  if (attachment.title) {
    const title = el("h3");
    if (attachment.title_link) {
      const link = el("a", "", attachment.title);
      link.href = attachment.title_link;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
      title.append(link);
    } else title.textContent = attachment.title;
    block.append(title);
  }
  if (attachment.text_html) block.append(markdown(attachment.text_html));
  if (attachment.fields.length) {
    const fields = el("div", "fields");
    for (const field of attachment.fields) {
      const cell = el("div", field.short ? "" : "long");
      cell.append(el("b", "", field.title), markdown(field.html));
      fields.append(cell);
    }
    block.append(fields);
  }
  if (attachment.actions.length) {
    const buttons = el("div", "buttons");
    buttons.append(...attachment.actions.map((action) => actionControl(entry, action)));
    block.append(buttons);
  }
  if (attachment.footer) block.append(el("p", "muted", attachment.footer));
  return block;
}

function postBlock(entry) {
  const sender = state.people.get(entry.sender_id);
  const block = el("article", `post ${entry.kind}`);
  const content = el("div", "content");
  const who = el("p", "who");
  const to = entry.only_for ? `only for ${nameOf(entry.only_for)}` : entry.channel ? `in ${entry.channel}` : `to ${entry.receiver_ids.map(nameOf).join(", ") || "themselves"}`;
  const when = el("time", "", clock(entry.at));
  when.dateTime = new Date(entry.at).toISOString();
  who.append(el("b", "", entry.kind === "ephemeral" && sender && !sender.is_bot ? "Switchboard" : nameOf(entry.sender_id)), el("span", "to", to), when);
  if (entry.from_integration) who.append(el("span", "badge", "integration"));
  if (entry.edited && !entry.deleted) who.append(el("span", "badge", "edited"));
  if (entry.only_for) who.append(el("span", "badge", "only visible to one"));
  content.append(who);
  if (entry.deleted) content.append(el("p", "muted", "(deleted)"));
  else {
    if (entry.html) content.append(markdown(entry.html));
    content.append(...entry.attachments.map((attachment) => attachmentBlock(entry, attachment)));
  }
  const first = face(entry.from_integration ? bot() : sender);
  first.setAttribute("aria-hidden", "true");
  block.append(first, content);
  return block;
}

const drawn = new Map();

function drawFeed() {
  const feed = $("feed");
  drawn.clear();
  const shown = [...state.entries.values()].filter((entry) => concerns(entry, state.chosen)).sort((one, other) => one.at - other.at);
  feed.replaceChildren(...shown.map((entry) => { const block = postBlock(entry); drawn.set(entry.id, block); return block; }));
  if (!shown.length) feed.append(el("p", "empty", state.chosen ? "Nothing yet. Write something below, or add a meeting." : "Nothing has arrived yet."));
  feed.scrollTop = feed.scrollHeight;
}

function addToFeed(entries) {
  const feed = $("feed");
  const atEnd = feed.scrollHeight - feed.scrollTop - feed.clientHeight < 80;
  for (const entry of entries) {
    state.entries.delete(entry.id);
    state.entries.set(entry.id, entry);
    if (state.entries.size > KEPT) {
      const oldest = state.entries.keys().next().value;
      state.entries.delete(oldest);
      drawn.get(oldest)?.remove();
      drawn.delete(oldest);
    }
    if (!concerns(entry, state.chosen)) continue;
    const block = postBlock(entry);
    const before = drawn.get(entry.id);
    if (before) before.replaceWith(block);
    else { feed.querySelector(".empty")?.remove(); block.classList.add("new"); feed.append(block); }
    drawn.set(entry.id, block);
  }
  if (atEnd) feed.scrollTop = feed.scrollHeight;
}

$("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("message").value.trim();
  if (!text || !state.chosen) return;
  try {
    const channel_id = await channelOf(state.chosen);
    if (text.startsWith("/")) await act(state.chosen, "POST", "/api/v4/commands/execute", {channel_id, command: text, team_id: state.teamId});
    else await act(state.chosen, "POST", "/api/v4/posts", {channel_id, message: text});
    $("message").value = "";
  } catch { /* shown already */ }
});
$("own-status").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("own-status-text").value.trim();
  const minutes = Number($("own-status-minutes").value);
  if (!text || !state.chosen) return;
  const body = {emoji: "speech_balloon", text};
  if (minutes) Object.assign(body, {duration: "date_and_time", expires_at: new Date(Date.now() + minutes * 60000).toISOString()});
  await act(state.chosen, "PUT", `/api/v4/users/${state.chosen}/status/custom`, body).catch(() => {});
});
$("own-status-clear").addEventListener("click", () => act(state.chosen, "DELETE", `/api/v4/users/${state.chosen}/status/custom`).catch(() => {}));
$("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("composer").requestSubmit(); }
});

// --- dialogs ---

function openNextDialog() {
  const box = $("dialog");
  if (box.open) return;
  const next = [...state.dialogs.values()].find((one) => !state.chosen || one.user_id === state.chosen);
  if (next) drawDialog(next);
}

function choiceOptions(element) {
  if (element.data_source === "users") return [...state.people.values()].map((person) => ({text: person.name, value: person.id}));
  return element.options || [];
}

function control(element) {
  const required = !element.optional;
  let made;
  if (element.type === "textarea") made = el("textarea");
  else if (element.type === "select") {
    made = el("select");
    made.multiple = element.multiselect === true;
    if (!made.multiple) made.append(new Option(element.placeholder || "", ""));
    made.append(...choiceOptions(element).map((one) => new Option(one.text, one.value)));
    if (element.data_source === "dynamic") {
      made.dataset.lookup = element.data_source_url;
      if (element.default) made.append(new Option(element.default, element.default));
    }
  } else if (element.type === "bool") { made = el("input"); made.type = "checkbox"; made.checked = element.default === "true"; return made; }
  else {
    made = el("input");
    made.type = element.type === "date" ? "date" : element.type === "datetime" ? "datetime-local" : element.subtype || "text";
  }
  if (made.tagName !== "SELECT") {
    if (element.max_length) made.maxLength = element.max_length;
    if (element.min_length) made.minLength = element.min_length;
    made.placeholder = element.placeholder || "";
  }
  made.required = required;
  if (element.default) {
    if (made.multiple) { const wanted = element.default.split(","); for (const one of made.options) one.selected = wanted.includes(one.value); }
    else made.value = element.default;
  }
  return made;
}

function radioGroup(element) {
  const group = el("div");
  for (const one of element.options || []) {
    const label = el("label");
    const made = el("input");
    made.type = "radio";
    made.name = element.name;
    made.value = one.value;
    made.checked = one.value === element.default;
    made.required = !element.optional;
    label.append(made, ` ${one.text}`);
    group.append(label);
  }
  return group;
}

function drawDialog(opened) {
  const box = $("dialog");
  const {dialog} = opened;
  const form = el("form", "stack");
  form.method = "dialog";
  const title = el("h2", "", dialog.title);
  title.id = "dialog-title";
  form.append(title, el("p", "muted", `As ${nameOf(opened.user_id)}`));
  if (opened.introduction_html) form.append(markdown(opened.introduction_html));
  const fields = new Map();
  for (const element of dialog.elements || []) {
    const wrap = el("div");
    const label = el("label", "", `${element.display_name}${element.optional ? " (optional)" : ""}`);
    const made = element.type === "radio" ? radioGroup(element) : control(element);
    if (element.type !== "radio") { made.id = `field-${element.name}`; label.htmlFor = made.id; }
    if (element.type === "bool" && element.placeholder) {
      const beside = el("label", "beside", element.placeholder);
      beside.prepend(made, " ");
      wrap.append(label, beside);
    } else wrap.append(label, made);
    if (element.help_text) wrap.append(el("p", "muted", element.help_text));
    const error = el("p", "field-error");
    error.setAttribute("role", "alert");
    wrap.append(error);
    form.append(wrap);
    fields.set(element.name, {element, made, error});
  }
  const general = el("p", "field-error");
  const buttons = el("div", "buttons");
  const submit = el("button", "primary", dialog.submit_label || "Submit");
  const cancel = el("button", "", "Cancel");
  submit.type = "submit";
  cancel.type = "button";
  buttons.append(submit, cancel);
  form.append(general, buttons);
  const valueOf = ({element, made}) => {
    if (element.type === "bool") return made.checked;
    if (element.type === "radio") return form.querySelector(`input[name="${CSS.escape(element.name)}"]:checked`)?.value || null;
    if (made.multiple) return [...made.selectedOptions].map((one) => one.value);
    if (made.value === "") return null;
    return element.subtype === "number" ? Number(made.value) : made.value;
  };
  const request = async (cancelled) => ({
    url: opened.url, callback_id: dialog.callback_id || "", state: dialog.state || "", cancelled,
    channel_id: await channelOf(opened.user_id), team_id: state.teamId,
    submission: cancelled ? {} : Object.fromEntries([...fields].map(([name, field]) => [name, valueOf(field)])),
  });
  const close = () => { state.dialogs.delete(opened.id); call("DELETE", `/_sandbox/dialogs/${opened.id}`).catch(() => {}); box.close(); openNextDialog(); };
  for (const {made} of fields.values()) {
    if (made.dataset && made.dataset.lookup) {
      request(true).then((body) => act(opened.user_id, "POST", "/api/v4/actions/dialogs/lookup", {...body, url: made.dataset.lookup, cancelled: false}))
        .then((answer) => made.append(...answer.items.filter((one) => one.value !== made.value).map((one) => new Option(one.text, one.value)))).catch(() => {});
    }
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    general.textContent = "";
    for (const {error} of fields.values()) error.textContent = "";
    try {
      const answer = await act(opened.user_id, "POST", "/api/v4/actions/dialogs/submit", await request(false));
      if (answer.type === "form" && answer.form) { opened.dialog = answer.form; box.close(); drawDialog(opened); return; }
      if (!answer.error && !answer.errors) { close(); return; }
      general.textContent = answer.error || "";
      for (const [name, words] of Object.entries(answer.errors || {})) if (fields.has(name)) fields.get(name).error.textContent = words;
    } catch (problem) { general.textContent = problem.message; }
    submit.disabled = false;
  });
  const leave = async () => {
    if (dialog.notify_on_cancel) await act(opened.user_id, "POST", "/api/v4/actions/dialogs/submit", await request(true)).catch(() => {});
    close();
  };
  cancel.addEventListener("click", leave);
  box.oncancel = (event) => { event.preventDefault(); leave(); };
  box.replaceChildren(form);
  box.showModal();
}

// --- calendars ---

async function loadMeetings() {
  const user = $("meeting-user").value;
  try {
    const {meetings} = await call("GET", `/_sandbox/calendar?user=${encodeURIComponent(user)}`);
    $("meetings").replaceChildren(...meetings.filter((one) => !one.is_series && one.start.includes("T")).map((one) => meetingItem(user, one)));
    $("calendar-note").textContent = meetings.length ? "" : "No meetings.";
  } catch (problem) { $("calendar-note").textContent = problem.message; }
}

function meetingItem(user, meeting) {
  const item = el("li");
  const start = new Date(meeting.start);
  const gone = meeting.status === "CANCELLED";
  item.append(el("p", `title ${gone ? "gone" : ""}`, meeting.summary), el("p", "muted", start.toLocaleString([], {weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23"})));
  if (gone) return item;
  const buttons = el("div", "buttons");
  const move = el("button", "small", "Move");
  const cancel = el("button", "small danger", "Cancel");
  move.title = "To as many minutes from now as stand in the form";
  move.addEventListener("click", () => changeMeeting({action: "move", user, uid: meeting.uid, minutes: Number($("meeting-minutes").value)}));
  cancel.addEventListener("click", () => changeMeeting({action: "cancel", user, uid: meeting.uid}));
  buttons.append(move, cancel);
  item.append(buttons);
  return item;
}

async function changeMeeting(body) {
  $("calendar-note").textContent = "";
  try { await call("POST", "/_sandbox/calendar", body); await loadMeetings(); } catch (problem) { $("calendar-note").textContent = problem.message; }
}

function putMeeting(action) {
  changeMeeting({action, user: $("meeting-user").value, minutes: Number($("meeting-minutes").value), summary: $("meeting-title").value});
}
$("meeting").addEventListener("submit", (event) => { event.preventDefault(); putMeeting("add"); });
$("meeting-invite").addEventListener("click", () => { if ($("meeting").reportValidity()) putMeeting("invite"); });
$("meeting-user").addEventListener("change", loadMeetings);

// --- faults ---

function drawFaults(faults, fired) {
  $("fired").textContent = String(fired);
  $("fault-list").replaceChildren(...faults.map((fault) => {
    const item = el("li");
    const left = fault.count === null ? "always" : `${fault.count - fault.hits} left`;
    item.append(el("p", "title", `${fault.kind.replace("_", " ")}${fault.kind === "error" || fault.kind === "cut" ? ` ${fault.when} the effect` : ""}`), el("p", "muted", `${fault.method} ${fault.path} · ${left}`));
    const off = el("button", "small", "Switch off");
    off.addEventListener("click", () => call("DELETE", `/_sandbox/faults/${fault.id}`).catch((problem) => show(problem.message)));
    item.append(off);
    return item;
  }));
}

$("fault").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [kind, when] = $("fault-kind").value.split(":");
  const [method, path] = $("fault-path").value.split(" ");
  const body = {kind, method, path, count: Number($("fault-count").value) || null, retry_after_s: 5};
  if (when) body.when = when;
  if (kind === "slow") body.seconds = 5;
  await call("POST", "/_sandbox/faults", body).catch((problem) => show(problem.message));
});

// --- the stream ---

function take(entry) {
  if (entry.kind === "user") { state.people.set(entry.id, entry); return false; }
  if (entry.kind === "dialog") { if (entry.closed) state.dialogs.delete(entry.id); else state.dialogs.set(entry.id, entry); return false; }
  return true;
}

function live(on, words) {
  $("line").classList.toggle("live", on);
  $("line-text").textContent = words;
}

const stream = new EventSource("/_sandbox/events");
stream.addEventListener("state", (event) => {
  const told = JSON.parse(event.data);
  state.people.clear(); state.entries.clear(); state.dialogs.clear(); state.sessions.clear(); state.channels.clear();
  state.teamId = told.team_id;
  for (const person of told.people) state.people.set(person.id, person);
  for (const entry of told.entries) if (take(entry)) state.entries.set(entry.id, entry);
  $("calendar").hidden = !told.has_calendars;
  $("views").hidden = !told.has_telegram;
  if (told.has_calendars) loadMeetings();
  live(true, "live");
  choose(state.people.has(state.chosen) ? state.chosen : "");
});
stream.addEventListener("changes", (event) => {
  const told = JSON.parse(event.data);
  const posts = told.entries.filter(take);
  if (told.entries.some((entry) => entry.kind === "user")) drawPeople();
  addToFeed(posts);
  drawFaults(told.faults, told.fired);
  $("count").textContent = told.total_posts ? `${told.total_posts} posts so far` : "";
  openNextDialog();
});
stream.onerror = () => live(false, "no connection, trying again");
