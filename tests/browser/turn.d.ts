/** The style sheet, which is put behind the script when it is sent. */
declare const STYLE: string;
