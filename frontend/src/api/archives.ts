/** A whole project as a file, and back. */

import type { components } from "./generated/schema";
import { sendFile } from "./http";

export type Imported = components["schemas"]["ImportedOut"];

const at = (org: string, project: string): string => `/api/v1/orgs/${org}/projects/${project}`;

export const archiveUrl = (org: string, project: string): string => `${at(org, project)}/export`;

/** Takes an archive's studies and runs in, all or nothing. */
export function importArchive(org: string, project: string, file: File): Promise<Imported> {
  return sendFile<Imported>(`${at(org, project)}/import`, file, "application/zip");
}
