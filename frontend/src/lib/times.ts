/** Times and durations as people read them; ISO with the zone is for hover and copy. */

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** 22 s, 18 min, 1 h 24 min, 2 d 4 h. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 9.95) return `${s < 0.95 ? s.toFixed(1) : String(Math.round(s * 10) / 10)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${two(minutes % 60)} min`;
  const totalHours = Math.round(s / 3600);
  const days = Math.floor(totalHours / 24);
  return totalHours % 24 === 0 ? `${days} d` : `${days} d ${totalHours % 24} h`;
}

export function formatClock(time: Date, withSeconds = false): string {
  const base = `${two(time.getHours())}:${two(time.getMinutes())}`;
  return withSeconds ? `${base}:${two(time.getSeconds())}` : base;
}

/** Relative below an hour, clock today, "21 Nov 14:32" this year, else with the year. */
export function formatTime(iso: string, now: Date = new Date()): string {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return "–";
  const age = (now.getTime() - time.getTime()) / 1000;
  if (age >= 0 && age < 3600) return age < 10 ? "just now" : `${formatDuration(age)} ago`;
  if (time.toDateString() === now.toDateString()) return formatClock(time);
  const day = `${time.getDate()} ${MONTHS[time.getMonth()] ?? ""}`;
  return time.getFullYear() === now.getFullYear()
    ? `${day} ${formatClock(time)}`
    : `${day} ${time.getFullYear()} ${formatClock(time)}`;
}

export function formatDay(iso: string, now: Date = new Date()): string {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return "–";
  const day = `${time.getDate()} ${MONTHS[time.getMonth()] ?? ""}`;
  return time.getFullYear() === now.getFullYear() ? day : `${day} ${time.getFullYear()}`;
}

export function secondsBetween(from: string, to: string | null, now: number = Date.now()): number {
  return ((to === null ? now : Date.parse(to)) - Date.parse(from)) / 1000;
}
